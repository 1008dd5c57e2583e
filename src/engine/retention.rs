//! Retention: what has been over for long enough is forgotten, and the beginning of the log with it.
//!
//! A sweep goes through the log's records, oldest first, once they are old enough. The job of each event in them is pruned,
//! if it is over and was not touched for as long as jobs are kept; else the event is carried over the horizon, so that a job
//! that lives on keeps its whole history. Then the record goes. So every job is pruned once, when the sweep comes to its
//! newest event at the latest, and no list of jobs by age is needed.
//!
//! ```text
//!   carried:                the records of events, a chain:
//!   what was before of      ┌──────────────────┬───────────────────────┬────────────────┐
//!   jobs that live on       │ swept next       │ what began is over    │ kept           │
//!                           └──────────────────┴───────────────────────┴────────────────┘
//!                        horizon         kept + allowance            kept             head
//! ```
//!
//! A sweep waits a while longer than jobs are kept: a job that began and ended meanwhile is pruned at its first event, and
//! nothing of it is carried.
//!
//! What is forgotten, carried and given up in a step is in that step's one commit. Secrets stay: they are kept once for all
//! the jobs that have them, and nobody counts those.

use std::collections::HashSet;
use std::time::Duration;

use super::Engine;
use super::exchange::{EngineError, Input};
use crate::domain::command::Command;
use crate::domain::event::{Envelope, Event};
use crate::domain::id::{JobId, Seq};
use crate::domain::job::Job;
use crate::domain::state::Base;
use crate::domain::time::Timestamp;
use crate::log::{LogError, LogReader, Pruning, RowWrite};
use crate::views::{self, Views};

/// How many events are swept for each one that is appended: more than one, so that the log's length follows what is kept
/// however fast it grows.
const SWEPT_PER_APPENDED: usize = 2;

/// How many events are swept at once when nothing is appended, or when little is: a commit of a few milliseconds.
const SWEPT_AT_ONCE: usize = 256;

/// How long to leave the disk to others after a sweep that came by itself.
const REST: Duration = Duration::from_millis(25);

/// How much longer than jobs are kept their events are: most jobs are over within that time.
fn allowance(keep: Duration) -> Duration {
    (keep / 8).min(Duration::from_hours(24))
}

/// How much longer a sweep waits that comes by itself, so that records that grow old one after another are swept together.
fn gathering(keep: Duration) -> Duration {
    (keep / 64).min(Duration::from_secs(10))
}

/// How far the log was swept, and when there is more to sweep.
pub(super) struct Retention {
    /// How long a job is kept after its newest event; `None`: for ever.
    keep: Option<Duration>,
    horizon: Seq,
    base: Base,
    /// Nothing is old enough before; `None` when nothing is swept any more.
    ripe: Option<Timestamp>,
    /// No sweep comes by itself before.
    rested: Timestamp,
    /// Events that may be swept: below zero when a record had more than were left.
    credit: isize,
}

impl Retention {
    pub(super) fn open(reader: &dyn LogReader, keep: Option<Duration>, now: Timestamp) -> Result<Self, LogError> {
        let anchor = reader.anchor()?;
        let ripe = keep.map(|_| now);
        Ok(Self { keep, horizon: anchor.horizon, base: anchor.base, ripe, rested: now, credit: 0 })
    }

    pub(super) const fn horizon(&self) -> Seq {
        self.horizon
    }

    /// When a sweep comes by itself.
    pub(super) fn next_sweep(&self) -> Option<Timestamp> {
        let gathered = self.ripe?.plus(gathering(self.keep?));
        Some(gathered.max(self.rested))
    }

    /// The clock was set back: it is not known any more when what grows old.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.ripe = self.ripe.map(|ripe| ripe.min(now));
        self.rested = self.rested.min(now);
    }

    /// Whether there is to be a sweep in a step that appends so many events, and of what was recorded how long ago.
    fn begin(&mut self, now: Timestamp, appended: usize) -> Option<Duration> {
        let keep = self.keep.filter(|_| self.ripe.is_some_and(|ripe| ripe <= now))?;
        let by_itself = if self.next_sweep().is_some_and(|next| next <= now) { SWEPT_AT_ONCE } else { 0 };
        let allowed = by_itself.max(appended.saturating_mul(SWEPT_PER_APPENDED));
        self.credit = self.credit.min(0).saturating_add_unsigned(allowed);
        (allowed > 0 && self.credit > 0).then_some(keep)
    }
}

/// What a sweep has come to.
struct Sweep {
    pruning: Pruning,
    /// Nothing happened to a job that is over since.
    before: Timestamp,
    /// Jobs that are not there any more: those of this sweep have rows still, until it is committed.
    gone: HashSet<JobId>,
}

impl Engine {
    /// Drafts what is forgotten at `now`. The last thing in a step: what was decided before has been seen, and nothing that is
    /// forgotten is brought to hand again before the commit.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let Some(keep) = self.retention.begin(now, self.draft.events.len()) else { return Ok(()) };
        let pruning = Pruning { horizon: self.retention.horizon, base: self.retention.base, ..Pruning::default() };
        let mut sweep = Sweep { pruning, before: now.minus(keep), gone: HashSet::new() };
        while self.retention.credit > 0 {
            let Some(record) = self.next_ripe(sweep.pruning.horizon, keep, now) else { break };
            self.retention.credit = self.retention.credit.saturating_sub_unsigned(record.len());
            for envelope in record {
                sweep.pruning.horizon = envelope.seq;
                sweep.pruning.base.take(&envelope.event);
                if !self.forget(&envelope.job, envelope.seq, &mut sweep, now)? {
                    sweep.pruning.carry.push(envelope);
                }
            }
        }
        self.retention.rested = now.plus(REST);
        let Sweep { mut pruning, gone, .. } = sweep;
        if pruning.horizon > self.retention.horizon {
            (self.retention.horizon, self.retention.base) = (pruning.horizon, pruning.base);
            pruning.carry.retain(|event| !gone.contains(&event.job));
            self.draft.pruning = Some(pruning);
        }
        Ok(())
    }

    /// The record of events after position `after`, if it is old enough; else it is noted when to look again.
    fn next_ripe(&mut self, after: Seq, keep: Duration, now: Timestamp) -> Option<Vec<Envelope>> {
        let record = match self.reader.neighbours(after.next()) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, "nothing is pruned any more until a restart: the log's beginning can't be read");
                self.retention.ripe = None;
                return None;
            }
        };
        let newest = record.iter().map(|envelope| envelope.at).max();
        let ripe = newest.unwrap_or(now).plus(keep).plus(allowance(keep));
        if newest.is_some() && ripe <= now {
            return Some(record);
        }
        self.retention.ripe = Some(ripe);
        None
    }

    /// Prunes the job of an event at `seq`, if that is over for long enough. Gives whether the event is of a job that is not
    /// there any more.
    fn forget(&mut self, id: &JobId, seq: Seq, sweep: &mut Sweep, now: Timestamp) -> Result<bool, EngineError> {
        if sweep.gone.contains(id) {
            return Ok(true);
        }
        let is_over = |job: &Job| (seq < job.registered, job.is_over_since(sweep.before));
        let found = match self.state.job(id) {
            Some(job) => Some(is_over(job)),
            None => match Views::new(&*self.reader).job(id) {
                Ok(job) => job.as_ref().map(is_over),
                Err(error) => {
                    tracing::error!(batch_id = %id, %error, "a batch can't be pruned");
                    return Ok(false);
                }
            },
        };
        match found {
            // Of an earlier job with that id.
            Some((true, _)) => return Ok(true),
            Some((_, false)) => return Ok(false),
            None => {}
            Some((_, true)) => {
                self.take(Input::of(Command::Prune { job: id.clone(), before: sweep.before }), now)?;
                if self.state.job(id).is_some() {
                    return Ok(false);
                }
                sweep.pruning.drop.push(id.clone());
            }
        }
        sweep.gone.insert(id.clone());
        Ok(true)
    }

    /// Drafts the end of the payloads that an event takes with it. It is asked before the event has moved the state.
    pub(super) fn forget_payloads(&mut self, Envelope { job, event, .. }: &Envelope) -> Result<(), LogError> {
        if !matches!(event, Event::JobPruned | Event::PayloadsErased { .. }) {
            return Ok(());
        }
        for delivery in self.state.deliveries_of(job) {
            let keys = views::payload_keys(&*self.reader, delivery.id)?;
            self.draft.rows.extend(keys.into_iter().map(|key| RowWrite { key, value: None }));
        }
        Ok(())
    }
}
