//! The engine: one owner of all state, stepped from outside with the time, its inputs and the free slots for attempts.
//!
//! A step decides on its inputs in order, chooses what is due, and appends all of it in one commit together with the rows
//! that it changes. What it gives back (replies, attempts to be made) is true only because that commit came first.
//!
//! ```text
//! inputs ─▶ decide, evolve ─▶ expiries ─▶ due attempts ─▶ sweep ─▶ commit ─▶ replies, attempts
//! ```
//!
//! After a failed commit the state is ahead of the log. The engine is then to be thrown away, and another opened on the log.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::Attempt;
use crate::domain::command::Command;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::{Envelope, Event};
use crate::domain::id::{DeliveryId, JobId, Seq};
use crate::domain::observation::Observation;
use crate::domain::outcome::{Failure, FailureKind, Outcome};
use crate::domain::rejection::Rejection;
use crate::domain::retry::sign;
use crate::domain::state::{State, Totals};
use crate::domain::time::Timestamp;
use crate::domain::webhook::{Destination, authority};
use crate::domain::{Stamp, decide, evolve};
use crate::log::{Commit, EventLog, LogError, LogReader, Pruning, RowWrite};
use crate::schedule::{Backlog, Rate, Schedule, Turn};
use crate::secrets::Secrets;
use crate::{payload, views, views::Views};

mod at_hand;
mod confidential;
mod exchange;
mod ids;
mod journal;
mod keeping;
mod progress;
mod remake;
pub mod replay;
mod replies;
mod retention;

pub use exchange::{
    Answer, Asked, Confidential, EngineError, Input, Keep, Render, Rendered, Retried, Settings, Step, Ticket, When,
};
use ids::DeliveryIds;
use keeping::Keeping;
use progress::ProgressPace;
use replies::Waiting;
use retention::Retention;

/// How many jobs and deliveries are kept at hand between steps; beyond that all are let go, for their rows can bring
/// them back. Enough for what is under way at once, and a few megabytes; a hundred
/// where every job has as much metadata as it may.
const AT_HAND: usize = 2048;

/// How many jobs expire in one step at most: a commit stays small, and the rest follow in the next one.
const EXPIRIES_PER_STEP: usize = 256;

/// The engine. See the [module](self).
pub struct Engine {
    log: Box<dyn EventLog>,
    reader: Arc<dyn LogReader>,
    settings: Settings,
    state: State,
    schedule: Schedule,
    progress: ProgressPace,
    expiries: BTreeSet<(Timestamp, JobId)>,
    secrets: Secrets,
    ids: DeliveryIds,
    waiting: HashMap<DeliveryId, Vec<Waiting>>,
    keeping: Keeping,
    retention: Retention,
    last_now: Timestamp,
    /// Outcomes of attempts that were recorded as started and then could not be made: the next step takes them.
    unmakeable: Vec<Input>,
    draft: Draft,
}

/// What the step under way will commit and give back.
#[derive(Default)]
struct Draft {
    events: Vec<Envelope>,
    rows: Vec<RowWrite>,
    pruning: Option<Pruning>,
    payloads: HashMap<DeliveryId, Arc<[u8]>>,
    started: Vec<DeliveryId>,
    replies: Vec<(Ticket, Result<Answer, Rejection>)>,
    observations: Vec<Observation>,
    /// Destinations that were found out to fail, or to answer again: those of these deliveries.
    turns: Vec<(DeliveryId, Turn)>,
}

impl Engine {
    /// Opens an engine on `log`: takes up what was under way, and records which attempts were interrupted.
    ///
    /// `entropy` is to be drawn anew for every opening; ids are made from it.
    ///
    /// # Errors
    /// When the log can't be read, or not written.
    pub fn open(
        mut log: Box<dyn EventLog>,
        settings: Settings,
        entropy: [u8; 32],
        now: Timestamp,
    ) -> Result<Self, EngineError> {
        remake::make_rows_current(&mut *log)?;
        let reader = log.reader();
        let (secrets, key_row) = Secrets::open(&*reader, ids::derive(entropy, b"secrets"))?;
        let mut engine = Self {
            state: State::new(settings.policy.clone()),
            schedule: Schedule::new(settings.pacing),
            progress: ProgressPace::new(settings.progress_interval),
            expiries: BTreeSet::new(),
            ids: DeliveryIds::new(entropy),
            waiting: HashMap::new(),
            keeping: Keeping::open(&*reader)?,
            retention: Retention::open(&*reader, settings.retention, now)?,
            last_now: now,
            unmakeable: Vec::new(),
            draft: Draft { rows: key_row.into_iter().collect(), ..Draft::default() },
            log,
            reader,
            settings,
            secrets,
        };
        engine.recover(now)?;
        Ok(engine)
    }

    /// What was under way is found through the rows of what is active: opening takes time in that, not in the history.
    fn recover(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let reader = Arc::clone(&self.reader);
        let views = Views::new(&*reader);
        self.state.bring_totals(views.totals()?);
        self.expiries = views.active_jobs()?.into_iter().map(|job| (job.times.expires_at, job.id)).collect();
        for delivery in views.active_deliveries()? {
            match delivery.state {
                DeliveryState::Pending { due } => {
                    let due = self.still_due(&delivery, due, now)?;
                    self.schedule.wait(delivery.id, &authority(&delivery.url), due);
                    if let Some(per_second) = delivery.rate_limit {
                        self.schedule.limit(&authority(&delivery.url), Rate { per_second });
                    }
                }
                _ => self.take(Input::of(Command::RecordInterruption { delivery: delivery.id, crashed: true }), now)?,
            }
        }
        self.commit()?;
        let draft = std::mem::take(&mut self.draft);
        self.tell(&draft);
        let Backlog { waiting, ready, .. } = self.backlog();
        tracing::info!(
            tail = self.tail().0,
            jobs = self.expiries.len(),
            deliveries = waiting + ready,
            interrupted =
                draft.events.iter().filter(|event| matches!(event.event, Event::AttemptInterrupted { .. })).count(),
            "the log is open"
        );
        Ok(())
    }

    /// When a delivery is due that was to wait until `due`: a clock that was set back while nothing ran must not make a wait
    /// longer than any wait is.
    fn still_due(&self, delivery: &Delivery, due: Timestamp, now: Timestamp) -> Result<Timestamp, LogError> {
        let policy = &self.settings.policy;
        let waits = policy.retry_schedule.iter().copied().chain([policy.backoff.cap, Duration::from_hours(1)]);
        let longest = waits.max().unwrap_or_default();
        if due <= now.plus(longest.saturating_mul(2)) {
            return Ok(due);
        }
        // Only its own schedule lets it wait for so long.
        let own = Views::new(&*self.reader).job(&delivery.job)?.and_then(|job| job.spec.options.retry_schedule);
        let own = own.into_iter().flatten().map(|seconds| Duration::from_secs(u64::from(seconds))).max();
        Ok(due.min(now.plus(longest.max(own.unwrap_or_default()).saturating_mul(2))))
    }

    /// Takes one step. `slots` is how many attempts may be started.
    ///
    /// # Errors
    /// The engine is of no use after an error: nothing that was asked in this step may be taken as done, and what is
    /// durable is known once another engine was opened on the log.
    pub fn step(&mut self, now: Timestamp, inputs: Vec<Input>, slots: usize) -> Result<Step, EngineError> {
        if now < self.last_now {
            let jump = self.last_now.since(now);
            self.schedule.set_back(jump);
            self.progress.set_back(jump);
            self.retention.set_back(now);
        }
        self.last_now = now;
        // Before anything is kept: what is forgotten may be under a key that an input uses again.
        self.draft.rows.extend(self.keeping.forget(&*self.reader, now)?);
        for input in std::mem::take(&mut self.unmakeable).into_iter().chain(inputs) {
            self.take(input, now)?;
        }
        for job in self.expired(now) {
            self.take(Input::of(Command::Expire { job }), now)?;
        }
        for delivery in self.schedule.due(now, slots) {
            self.take(Input::of(Command::StartAttempt { delivery }), now)?;
        }
        self.sweep(now)?;
        self.commit()?;
        let draft = std::mem::take(&mut self.draft);
        self.tell(&draft);
        let attempts = draft.started.iter().filter_map(|&id| self.make(id, &draft.payloads)).collect();
        if self.state.len() > AT_HAND {
            self.state.let_go();
        }
        Ok(Step { replies: draft.replies, attempts, tail: self.log.tail(), observations: draft.observations })
    }

    /// When a step is due although nothing comes in; `None` when nothing waits.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        if !self.unmakeable.is_empty() {
            return Some(self.last_now);
        }
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let others = [expiry, self.keeping.next_expiry(), self.retention.next_sweep()];
        others.into_iter().chain([self.schedule.next_due()]).flatten().min()
    }

    /// Whether a step could start an attempt at once, were there a slot for it.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.schedule.is_ready()
    }

    /// What is counted over the whole log.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.state.totals()
    }

    /// What waits for an attempt, is ready for one, or is in flight.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.schedule.backlog()
    }

    /// Since when the oldest delivery that is ready has been due.
    #[must_use]
    pub fn oldest_ready(&self) -> Option<Timestamp> {
        self.schedule.oldest_ready()
    }

    /// The deliveries with an attempt in flight, in no order.
    pub fn in_flight(&self) -> impl Iterator<Item = DeliveryId> {
        self.schedule.in_flight()
    }

    /// The end of the log.
    #[must_use]
    pub fn tail(&self) -> Seq {
        self.log.tail()
    }

    /// What came up to here was given up.
    #[must_use]
    pub const fn horizon(&self) -> Seq {
        self.retention.horizon()
    }

    /// The reading side of the engine's log.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.reader)
    }

    /// Takes out the jobs whose time has run out: whatever is decided, they are not asked about again.
    fn expired(&mut self, now: Timestamp) -> Vec<JobId> {
        let mut expired = Vec::new();
        while expired.len() < EXPIRIES_PER_STEP && self.expiries.first().is_some_and(|(at, _)| *at <= now) {
            expired.extend(self.expiries.pop_first().map(|(_, job)| job));
        }
        expired
    }

    /// Decides on one input and drafts what follows from it.
    fn take(&mut self, input: Input, now: Timestamp) -> Result<(), EngineError> {
        let Input { mut command, confidential, asked } = input;
        if let Err(error) = self.bring(&command) {
            return self.refuse(&command, asked, Rejection::Unreadable { why: error.to_string() }, now);
        }
        if let Command::RecordOutcome { delivery, outcome, .. } = &command {
            let turn = self.schedule.learn(*delivery, sign(outcome, now), now);
            self.draft.turns.extend(turn.map(|turn| (*delivery, turn)));
        }
        self.name_confidential(&mut command, &confidential);
        let stamp = Stamp { now, delivery: self.ids.next(now) };
        match decide(&self.state, &command, stamp) {
            Ok(events) => {
                let recorded = events.len();
                for event in events {
                    self.record(&command, event, &confidential, now)?;
                }
                self.answer(&command, recorded, asked, now)
            }
            Err(rejection) => self.refuse(&command, asked, rejection, now),
        }
    }

    /// Gives an event its place in the log, and moves the state by it.
    fn record(
        &mut self,
        command: &Command,
        event: Event,
        confidential: &Confidential,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let job = match (command, event.delivery()) {
            (
                Command::Register { id: job, .. }
                | Command::Report { job, .. }
                | Command::Cancel { job }
                | Command::Expire { job }
                | Command::Prune { job, .. }
                | Command::ErasePayloads { job },
                _,
            ) => job.clone(),
            (_, delivery) => {
                let known = delivery.and_then(|id| self.state.delivery(id)).map(|delivery| delivery.job.clone());
                known.ok_or_else(|| LogError::corrupt("a delivery's row", "it is missing"))?
            }
        };
        let seq = self.draft.events.last().map_or(self.log.tail(), |event| event.seq).next();
        let prev = self.state.job(&job).map_or(Seq::ZERO, |job| job.head);
        let envelope = Envelope { seq, at: now, job, prev, event };
        self.forget_payloads(&envelope)?;
        evolve(&mut self.state, &envelope)?;
        self.keep_confidential(&envelope.event, confidential);
        self.follow(command, &envelope);
        if let Some(delivery) = envelope.event.delivery().and_then(|id| self.state.delivery(id)) {
            self.draft.observations.extend(Observation::of(&envelope, delivery));
        }
        self.draft.events.push(envelope);
        Ok(())
    }

    /// What else an event means: the payload is made, the schedule and the expiries are kept.
    fn follow(&mut self, command: &Command, envelope: &Envelope) {
        let is_urgent = matches!(command, Command::RetryDeadLetter { .. } | Command::Resend { .. });
        if let Some(delivery) = envelope.event.delivery().and_then(|id| self.state.delivery(id)) {
            if let (DeliveryState::Pending { .. }, Some(per_second)) = (delivery.state, delivery.rate_limit) {
                self.schedule.limit(&authority(&delivery.url), Rate { per_second });
            }
            match delivery.state {
                // Somebody waits for one that is retried alone; of many, none is more urgent than others.
                DeliveryState::Pending { .. } if is_urgent => {
                    self.schedule.hurry(delivery.id, &authority(&delivery.url));
                }
                DeliveryState::Pending { due } => self.line_up(delivery.id, due),
                DeliveryState::InFlight => self.progress.began(delivery, envelope.at),
                _ => self.schedule.remove(delivery.id),
            }
        }
        let Some(job) = self.state.job(&envelope.job) else { return };
        match &envelope.event {
            Event::JobRegistered { expires_at, .. } => {
                self.expiries.insert((*expires_at, job.id.clone()));
            }
            Event::JobTransitioned { .. } if job.status.is_terminal() => {
                self.expiries.remove(&(job.times.expires_at, job.id.clone()));
            }
            Event::DeliveryScheduled { delivery, .. } => {
                let Some(scheduled) = self.state.delivery(*delivery) else { return };
                let body: Arc<[u8]> = payload::body(job, scheduled).into();
                self.draft.rows.extend(views::payload(*delivery, &body));
                self.draft.payloads.insert(*delivery, body);
            }
            Event::AttemptStarted { delivery, .. } => self.draft.started.push(*delivery),
            _ => {}
        }
    }

    /// Everything drafted, and the rows that it changes, at once.
    fn commit(&mut self) -> Result<(), LogError> {
        let after = self.log.tail();
        let mut rows = std::mem::take(&mut self.draft.rows);
        rows.extend(views::changes(&mut self.state, |key| self.reader.row(key))?);
        let Draft { events, pruning, .. } = &self.draft;
        if events.is_empty() && rows.is_empty() && pruning.is_none() {
            return Ok(());
        }
        self.log.commit(&Commit { pruning: pruning.as_ref(), ..Commit::new(after, events, &rows) }).map(drop)
    }

    /// An attempt that was recorded as started; one that can't be made has failed, and holds up no other.
    fn make(&mut self, id: DeliveryId, payloads: &HashMap<DeliveryId, Arc<[u8]>>) -> Option<Attempt> {
        let error = match self.attempt(id, payloads) {
            Ok(attempt) => return Some(attempt),
            Err(error) => error,
        };
        tracing::error!(delivery_id = %id, %error, "an attempt can't be made");
        let attempt = self.state.delivery(id).map_or(0, Delivery::attempt);
        let detail = "what is to be sent could not be read; see the server's log".into();
        let outcome = Outcome { duration_ms: 0, result: Err(Failure { kind: FailureKind::Internal, detail }) };
        self.unmakeable.push(Input::of(Command::RecordOutcome { delivery: id, attempt, outcome }));
        None
    }

    /// An attempt that was recorded as started, with everything that making it needs.
    fn attempt(&self, id: DeliveryId, payloads: &HashMap<DeliveryId, Arc<[u8]>>) -> Result<Attempt, LogError> {
        let missing = |what: &str| LogError::corrupt(format!("the {what} of delivery {id}"), "it is missing");
        let delivery = self.state.delivery(id).ok_or_else(|| missing("row"))?;
        let body = match payloads.get(&id) {
            Some(body) => Arc::clone(body),
            None => Views::new(&*self.reader).payload(id)?.ok_or_else(|| missing("payload"))?.into(),
        };
        let Destination::Webhook(job) = &delivery.destination;
        let job = self.state.job(job).ok_or_else(|| missing("batch"))?;
        Ok(Attempt {
            delivery: id,
            number: delivery.attempt(),
            kind: delivery.kind,
            url: delivery.url.clone(),
            timeout: Duration::from_secs(u64::from(delivery.timeout)),
            body,
            secrets: self.signers(job)?,
            headers: self.headers(job)?,
        })
    }
}
