//! How often a job's progress is told: once in an interval, so that a thousand reports in a second do not become a thousand
//! requests. A report that is held back is superseded by the next one, and the last one is sent.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Engine;
use crate::domain::delivery::Delivery;
use crate::domain::id::{DeliveryId, JobId};
use crate::domain::time::Timestamp;
use crate::domain::webhook::{EventKind, authority};
use crate::schedule::{Condition, WaitsFor};

/// How many beginnings are remembered: as many as there are in some seconds, and two megabytes. Beyond that the oldest
/// are forgotten, and what they held back goes out earlier.
const BEGINNINGS: usize = 16_384;

/// When the newest progress attempt of each job began, as far as that holds back the next one.
#[derive(Default)]
pub(super) struct ProgressPace {
    interval: Duration,
    began: HashMap<JobId, Timestamp>,
    /// The same, oldest first. A job is in here once for each of its attempts, of which the newest counts.
    order: VecDeque<(Timestamp, JobId)>,
}

impl ProgressPace {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, ..Self::default() }
    }

    /// Notes that an attempt of `delivery` began.
    pub(super) fn began(&mut self, delivery: &Delivery, at: Timestamp) {
        if delivery.kind != EventKind::Progress || self.interval.is_zero() {
            return;
        }
        self.began.insert(delivery.job.clone(), at);
        self.order.push_back((at, delivery.job.clone()));
        while self.order.len() > BEGINNINGS || self.order.front().is_some_and(|(began, _)| self.is_over(*began, at)) {
            let Some((began, job)) = self.order.pop_front() else { break };
            if self.began.get(&job) == Some(&began) {
                self.began.remove(&job);
            }
        }
    }

    fn is_over(&self, began: Timestamp, now: Timestamp) -> bool {
        began.plus(self.interval) <= now
    }

    /// Until when `delivery`, which is `due`, is held back. What was asked for by hand is not.
    pub(super) fn holds_back(&self, delivery: &Delivery, due: Timestamp) -> Option<Timestamp> {
        if delivery.kind != EventKind::Progress || !delivery.may_be_superseded() {
            return None;
        }
        let until = self.began.get(&delivery.job)?.plus(self.interval);
        (until > due).then_some(until)
    }

    /// Moves every time back, as [`Schedule::set_back`](crate::schedule::Schedule::set_back) does.
    pub(super) fn set_back(&mut self, jump: Duration) {
        let back = i64::try_from(jump.as_millis()).unwrap_or(i64::MAX);
        for began in self.began.values_mut().chain(self.order.iter_mut().map(|(began, _)| began)) {
            *began = Timestamp::from_millis(began.as_millis().saturating_sub(back));
        }
    }
}

impl Engine {
    /// Gives a delivery its place in the schedule: when it is `due`, or when its job's progress may be told again.
    pub(super) fn line_up(&mut self, id: DeliveryId, due: Timestamp) {
        let Some(delivery) = self.state.delivery(id) else { return };
        let authority = authority(&delivery.url);
        match self.progress.holds_back(delivery, due) {
            Some(until) => self.schedule.hold_back(id, &authority, until),
            None => self.schedule.wait(id, &authority, due),
        }
    }

    /// What a delivery waits for; `None` when no attempt of it is waited for.
    #[must_use]
    pub fn waits_for(&self, delivery: DeliveryId) -> Option<WaitsFor> {
        self.schedule.waits_for(delivery)
    }

    /// How up to `limit` destinations stand: those first of which there is the most to tell.
    #[must_use]
    pub fn conditions(&self, now: Timestamp, limit: usize) -> Vec<Condition> {
        self.schedule.conditions(now, limit)
    }
}
