//! How each destination stands at the moment: for whoever looks on. Nothing is decided by it.

use std::cmp::Reverse;

use super::{Queue, Schedule};
use crate::domain::time::Timestamp;

/// How a destination stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its scheme, host and port: `https://a.example:443`.
    pub authority: String,
    /// Attempts in flight.
    pub in_flight: usize,
    /// Deliveries that are due and wait for a slot, a pause's end, or the rate limit.
    pub ready: usize,
    /// Deliveries that are not due yet.
    pub waiting: usize,
    /// Attempts that may be in flight at once: fewer than configured while it recovers.
    pub slots: usize,
    /// Failures since the last sign of life.
    pub failures: u32,
    /// The end of its pause, while there is one.
    pub paused_until: Option<Timestamp>,
}

impl Schedule {
    /// Up to `limit` destinations of which there is something to tell at `now`: the paused ones first, then those with the
    /// most to do.
    #[must_use]
    pub fn conditions(&self, now: Timestamp, limit: usize) -> Vec<Condition> {
        let mut queues: Vec<&Queue> = self.lanes.values().collect();
        let rank = |queue: &Queue| {
            let is_paused = queue.pace.paused_until(now).is_some();
            Reverse((is_paused, queue.in_flight + queue.ready(), queue.waiting))
        };
        let order = |a: &&Queue, b: &&Queue| rank(a).cmp(&rank(b)).then_with(|| a.authority.cmp(&b.authority));
        if queues.len() > limit {
            queues.select_nth_unstable_by(limit, order);
            queues.truncate(limit);
        }
        queues.sort_unstable_by(order);
        let condition = |queue: &Queue| Condition {
            authority: queue.authority.to_string(),
            in_flight: queue.in_flight,
            ready: queue.ready(),
            waiting: queue.waiting,
            slots: queue.pace.slots(&self.pacing),
            failures: queue.pace.failures(),
            paused_until: queue.pace.paused_until(now),
        };
        queues.into_iter().map(condition).collect()
    }
}

impl Queue {
    /// How many of its deliveries are due.
    fn ready(&self) -> usize {
        (self.ready.len() + self.urgent.len()).saturating_sub(self.gone)
    }
}
