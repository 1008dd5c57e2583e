//! What decisions are made on: jobs, deliveries and dead letters by id.
//!
//! A state need not hold everything: the engine brings in what a command is about before it asks. Whatever an event
//! changes is noted as touched, so that exactly those rows are written.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::delivery::{DeadLetter, Delivery, DeliveryStatus};
use super::event::Event;
use super::id::{DeadLetterId, DeliveryId, JobId, Seq};
use super::job::{Job, Status};
use super::remains::Remains;
use super::retry::Backoff;
use super::webhook::EventKind;

/// The configuration that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether `http` destinations may be registered.
    pub allow_http: bool,
    /// The total number of attempts of webhooks that name none.
    pub max_attempts: u32,
    /// The time for a whole attempt of webhooks that name none.
    pub timeout: Duration,
    /// How long to wait between attempts, where there is no schedule.
    pub backoff: Backoff,
    /// The waits after the first failed attempt, the second, … of webhooks that have no schedule of their own; the last one
    /// repeats. Where it is empty, the backoff takes its place.
    pub retry_schedule: Vec<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_http: false,
            max_attempts: 3,
            timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
            retry_schedule: Vec::new(),
        }
    }
}

/// What is counted over the whole log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The number of the newest dead letter.
    pub last_dead_letter: u64,
    /// How many dead letters there are, the deleted ones left out.
    pub dead_letters: u64,
    /// How many jobs there are of each status, in the order of [`Status::ALL`].
    pub jobs: [u64; Status::ALL.len()],
}

impl Totals {
    /// Counts a job that went from one status to another: from none when it is new, to none when it is pruned.
    pub(super) const fn count(&mut self, from: Option<Status>, to: Option<Status>) {
        if let Some(from) = from {
            self.jobs[from as usize] = self.jobs[from as usize].saturating_sub(1);
        }
        if let Some(to) = to {
            self.jobs[to as usize] += 1;
        }
    }
}

/// What has to be known of events that were given up, to begin a state without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The number of the newest dead letter that any of them told of.
    pub last_dead_letter: u64,
}

/// Something with a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// A job.
    Job(JobId),
    /// A delivery.
    Delivery(DeliveryId),
    /// A dead letter.
    DeadLetter(DeadLetterId),
    /// The [`Totals`].
    Totals,
}

impl Base {
    /// Takes in an event that is given up.
    pub fn take(&mut self, event: &Event) {
        if let Event::DeliveryExhausted { dead_letter, .. } = event {
            self.last_dead_letter = self.last_dead_letter.max(dead_letter.0);
        }
    }
}

/// Where something with a row of its own stood before events changed it: what lists of it are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A job's place and status.
    Job(Seq, Status),
    /// A delivery's, and what it tells.
    Delivery(Seq, DeliveryStatus, EventKind),
    /// The whole dead letter, for it may be gone.
    DeadLetter(Box<DeadLetter>),
}

/// Jobs, deliveries and dead letters, as far as they are at hand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The configuration.
    pub policy: Policy,
    pub(super) jobs: HashMap<JobId, Job>,
    pub(super) deliveries: HashMap<DeliveryId, Delivery>,
    pub(super) dead_letters: HashMap<DeadLetterId, DeadLetter>,
    pub(super) totals: Totals,
    pub(super) remains: Remains,
    /// What events have changed, and where it stood before; `None` when it is new.
    touched: BTreeMap<Entity, Option<Standing>>,
}

impl State {
    /// An empty state.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The state of a log that was given up up to `horizon`, before any event that is left: those that were carried come
    /// next.
    #[must_use]
    pub fn after(horizon: Seq, base: Base) -> Self {
        let totals = Totals { last_dead_letter: base.last_dead_letter, ..Totals::default() };
        let mut state = Self { totals, remains: Remains::after(horizon), ..Self::default() };
        if base != Base::default() {
            state.touch(Entity::Totals);
        }
        state
    }

    /// A job whose events are there from some position on and do not end: what came before is lost.
    #[must_use]
    pub fn incomplete(&self) -> Option<&JobId> {
        self.remains.jobs().next()
    }

    /// The job of that id, if it is at hand.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// The delivery of that id, if it is at hand.
    #[must_use]
    pub fn delivery(&self, id: DeliveryId) -> Option<&Delivery> {
        self.deliveries.get(&id)
    }

    /// The dead letter of that number, if it is at hand.
    #[must_use]
    pub fn dead_letter(&self, id: DeadLetterId) -> Option<&DeadLetter> {
        self.dead_letters.get(&id)
    }

    /// What is counted over the whole log.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The deliveries of a job as far as they are at hand, newest first: each names the one before it.
    pub fn deliveries_of(&self, job: &JobId) -> impl Iterator<Item = &Delivery> {
        let newest = self.job(job).and_then(|job| job.latest.as_ref()).and_then(|latest| self.delivery(latest.id));
        std::iter::successors(newest, |delivery| self.delivery(delivery.previous?))
    }

    /// Every job at hand, in no order.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Every delivery at hand, in no order.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values()
    }

    /// Every dead letter at hand, in no order.
    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.dead_letters.values()
    }

    /// Brings in a job as its row has it.
    pub fn bring_job(&mut self, job: Job) {
        self.jobs.insert(job.id.clone(), job);
    }

    /// Brings in a delivery as its row has it.
    pub fn bring_delivery(&mut self, delivery: Delivery) {
        self.deliveries.insert(delivery.id, delivery);
    }

    /// Brings in a dead letter as its row has it.
    pub fn bring_dead_letter(&mut self, dead_letter: DeadLetter) {
        self.dead_letters.insert(dead_letter.id, dead_letter);
    }

    /// Brings in the totals as their row has them.
    pub const fn bring_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// How many jobs and deliveries are at hand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len() + self.deliveries.len()
    }

    /// Whether nothing is at hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of everything but the totals: their rows can bring it back.
    pub fn let_go(&mut self) {
        self.jobs.clear();
        self.deliveries.clear();
        self.dead_letters.clear();
    }

    /// What events have changed since this was last asked, and where each of it stood before; `None` when it is new.
    pub fn take_touched(&mut self) -> BTreeMap<Entity, Option<Standing>> {
        std::mem::take(&mut self.touched)
    }

    /// Notes that an event is about to change `entity`.
    pub(super) fn touch(&mut self, entity: Entity) {
        if self.touched.contains_key(&entity) {
            return;
        }
        let standing = match &entity {
            Entity::Job(id) => self.job(id).map(|job| Standing::Job(job.registered, job.status)),
            Entity::Delivery(id) => self
                .delivery(*id)
                .map(|delivery| Standing::Delivery(delivery.scheduled, delivery.state.status(), delivery.kind)),
            Entity::DeadLetter(id) => self.dead_letter(*id).cloned().map(Box::new).map(Standing::DeadLetter),
            Entity::Totals => None,
        };
        self.touched.insert(entity, standing);
    }
}
