//! What anyone sees, as rows that are written in the same commit as the events that change them.
//!
//! A row is a function of the state that the events lead to, so a replay from the beginning gives equal rows; a command
//! and a test hold that. So rows may change their form from one [`VERSION`] to the next: a store with rows of another
//! version has them made anew when it is opened. Keys begin with a letter:
//!
//! | key | value |
//! | --- | --- |
//! | `a` job id | the job, while it is not terminal |
//! | `j` job id | the job, once it is |
//! | `l` position of its registration | the job's id: lists of jobs, by age |
//! | `q` delivery id | the delivery, while an attempt is to be made or is being made |
//! | `d` delivery id | the delivery, once it is finished |
//! | `v` position at which it was scheduled | the delivery's id: lists of deliveries, by age |
//! | `x` dead letter number | the dead letter |
//! | `i` class, block | which jobs, deliveries and dead letters are of that class: see [`index`] |
//! | `t` | the totals |
//!
//! And, beside the events but not derived from them:
//!
//! | key | value |
//! | --- | --- |
//! | `p` delivery id, chunk | the payload's bytes |
//! | `k` idempotency key, chunk | the answer that is kept under it, see [`answers`] |
//! | `e` time, idempotency key | nothing: when that answer was kept |
//! | `m` name | what is to be known of the store itself |

use serde::de::DeserializeOwned;

use crate::domain::delivery::{DeadLetter, Delivery, DeliveryStatus};
use crate::domain::event::{Envelope, Event};
use crate::domain::evolve;
use crate::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use crate::domain::job::{Job, Status};
use crate::domain::state::{State, Totals};
use crate::domain::webhook::EventKind;
use crate::log::{LogError, LogReader, Order, RowWrite, codec};
use index::{Class, Index};

pub mod answers;
mod index;
mod letters;
mod rows;

pub use letters::{LetterFilter, LetterPage};
pub use rows::{DERIVED, all_rows, changes, payload};

/// The form of the rows. One higher for every change of what is derived from events, or of how it is stored.
pub const VERSION: u8 = 3;

/// Where the store's version of the rows stands.
const VERSION_ROW: &[u8] = b"m/views";

/// The row that says that the rows are of this [`VERSION`].
#[must_use]
pub fn version_row() -> RowWrite {
    rows::put(VERSION_ROW.to_vec(), vec![VERSION])
}

/// Which deliveries are meant. What is left out matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of this job.
    pub job: Option<JobId>,
    /// Of this status.
    pub status: Option<DeliveryStatus>,
    /// Of this kind.
    pub kind: Option<EventKind>,
}

impl DeliveryFilter {
    fn matches(&self, delivery: &Delivery) -> bool {
        self.job.as_ref().is_none_or(|job| *job == delivery.job)
            && self.status.is_none_or(|status| status == delivery.state.status())
            && self.kind.is_none_or(|kind| kind == delivery.kind)
    }

    fn classes(&self) -> Vec<Class> {
        let kinds = EventKind::ALL.into_iter().filter(|is| self.kind.is_none_or(|kind| kind == *is));
        let class = |kind| match self.status {
            Some(status) => Class::deliveries(status, kind),
            None => Class::deliveries_of(kind),
        };
        kinds.map(class).collect()
    }
}

/// Reads rows as what they stand for. Cheap to copy; any thread may have one.
#[derive(Clone, Copy)]
pub struct Views<'a> {
    reader: &'a dyn LogReader,
}

/// Entries of a list that are read at once.
const LISTED_AHEAD: usize = 32;

impl<'a> Views<'a> {
    /// Reads the rows of `reader`.
    #[must_use]
    pub fn new(reader: &'a dyn LogReader) -> Self {
        Self { reader }
    }

    fn row<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, LogError> {
        self.reader.row(key)?.map(|bytes| read(key, &bytes)).transpose()
    }

    /// A job.
    ///
    /// # Errors
    /// When its row can't be read; so with every method here.
    pub fn job(&self, id: &JobId) -> Result<Option<Job>, LogError> {
        self.row(&rows::active_key(id)).transpose().or_else(|| self.row(&rows::job_key(id)).transpose()).transpose()
    }

    /// A delivery.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, LogError> {
        // A redelivery may move it back to the queue between two looks, so that is where the last look goes.
        for key in [rows::queue_key(id), rows::delivery_key(id), rows::queue_key(id)] {
            if let Some(delivery) = self.row(&key)? {
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    /// A dead letter.
    pub fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, LogError> {
        self.row(&rows::dead_letter_key(id))
    }

    /// The totals.
    pub fn totals(&self) -> Result<Totals, LogError> {
        self.row(b"t").map(Option::unwrap_or_default)
    }

    /// The exact bytes of a delivery; `None` when they were erased.
    pub fn payload(&self, id: DeliveryId) -> Result<Option<Vec<u8>>, LogError> {
        let pieces = self.reader.rows(&rows::payload_key(id, &[]), Order::Ascending, None, usize::MAX)?;
        if pieces.is_empty() {
            return Ok(None);
        }
        let missing = || LogError::corrupt(format!("the payload of delivery {id}"), "a part of it is missing");
        rows::joined(&pieces).ok_or_else(missing).map(Some)
    }

    /// Up to `limit` jobs that were registered before position `before`, newest first; of that `status` alone, if one is
    /// given.
    pub fn jobs(&self, status: Option<Status>, before: Option<Seq>, limit: usize) -> Result<Vec<Job>, LogError> {
        let positions = self.positions(b"l", status.map(|status| vec![Class::jobs(status)]), before);
        // One that has moved on since the index was read is not what was asked for.
        let wanted = |job: &Job| status.is_none_or(|status| status == job.status);
        let jobs = positions.map(|at| self.listed_job(Seq(at?)));
        jobs.filter(|job| job.as_ref().map_or(true, wanted)).take(limit).collect()
    }

    fn listed_job(&self, registered: Seq) -> Result<Job, LogError> {
        let wrong = |why: &str| LogError::corrupt(format!("the list's row of event {registered}"), why);
        let id = self.reader.row(&rows::list_key(registered))?.ok_or_else(|| wrong("it is missing"))?;
        let id = std::str::from_utf8(&id).ok().and_then(|id| JobId::new(id).ok());
        let job = self.job(&id.ok_or_else(|| wrong("it is no batch id"))?)?;
        job.ok_or_else(|| wrong("it lists a batch that is missing"))
    }

    /// Up to `limit` deliveries that were scheduled before position `before`, newest first, as `filter` wants them.
    pub fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Delivery>, LogError> {
        let wanted =
            |delivery: &Result<Delivery, LogError>| delivery.as_ref().map_or(true, |delivery| filter.matches(delivery));
        if let Some(job) = &filter.job {
            let Some(job) = self.job(job)? else { return Ok(Vec::new()) };
            let ids = self.history(&job)?.into_iter().rev().filter_map(|Envelope { seq, event, .. }| match event {
                Event::DeliveryScheduled { delivery, .. } if before.is_none_or(|before| seq < before) => Some(delivery),
                _ => None,
            });
            return ids.map(|id| self.known_delivery(id)).filter(wanted).take(limit).collect();
        }
        let is_filtered = *filter != DeliveryFilter::default();
        let positions = self.positions(b"v", is_filtered.then(|| filter.classes()), before);
        positions.map(|at| self.listed_delivery(Seq(at?))).filter(wanted).take(limit).collect()
    }

    fn listed_delivery(&self, scheduled: Seq) -> Result<Delivery, LogError> {
        let wrong = |why: &str| LogError::corrupt(format!("the list's row of event {scheduled}"), why);
        let id = self.reader.row(&rows::scheduled_key(scheduled))?.ok_or_else(|| wrong("it is missing"))?;
        let id = id.try_into().map_err(|_| wrong("it is no delivery's id"))?;
        self.known_delivery(DeliveryId(u128::from_be_bytes(id)))
    }

    fn known_delivery(&self, id: DeliveryId) -> Result<Delivery, LogError> {
        self.delivery(id)?.ok_or_else(|| LogError::corrupt(format!("the row of delivery {id}"), "it is missing"))
    }

    /// Positions below `before`, largest first: those of `classes`, or all that have a row under `prefix`.
    fn positions(
        &self,
        prefix: &'static [u8],
        classes: Option<Vec<Class>>,
        before: Option<Seq>,
    ) -> Box<dyn Iterator<Item = Result<u64, LogError>> + 'a> {
        let before = before.map_or(u64::MAX, |before| before.0);
        match classes {
            Some(classes) => Box::new(Index(self.reader).numbers(classes, before)),
            None => Box::new(self.listed(prefix, before)),
        }
    }

    fn listed(&self, prefix: &'static [u8], before: u64) -> impl Iterator<Item = Result<u64, LogError>> + 'a {
        let reader = self.reader;
        let mut after = [prefix, &before.to_be_bytes()].concat();
        let mut ahead: Vec<u64> = Vec::new();
        std::iter::from_fn(move || {
            if ahead.is_empty() {
                let rows = match reader.rows(prefix, Order::Descending, Some(&after), LISTED_AHEAD) {
                    Ok(rows) => rows,
                    Err(error) => return Some(Err(error)),
                };
                after.clone_from(&rows.last()?.0);
                let position = |key: &[u8]| key.last_chunk().map(|at| u64::from_be_bytes(*at));
                ahead.extend(rows.iter().rev().filter_map(|(key, _)| position(key)));
            }
            ahead.pop().map(Ok)
        })
    }

    /// Every job that is not terminal.
    pub fn active_jobs(&self) -> Result<Vec<Job>, LogError> {
        let rows = self.reader.rows(b"a", Order::Ascending, None, usize::MAX)?;
        rows.iter().map(|(key, bytes)| read(key, bytes)).collect()
    }

    /// Every delivery of which an attempt is to be made, or was being made when the process ended.
    pub fn active_deliveries(&self) -> Result<Vec<Delivery>, LogError> {
        let rows = self.reader.rows(b"q", Order::Ascending, None, usize::MAX)?;
        rows.iter().map(|(key, bytes)| read(key, bytes)).collect()
    }

    /// A job as it was when the log ended at position `at`; `None` when it was not registered then.
    pub fn job_at(&self, id: &JobId, at: Seq) -> Result<Option<Job>, LogError> {
        let Some(job) = self.job(id)? else { return Ok(None) };
        let mut state = State::default();
        for envelope in self.history(&job)?.iter().filter(|envelope| envelope.seq <= at) {
            evolve(&mut state, envelope)
                .map_err(|illegal| LogError::corrupt("a batch's history", illegal.to_string()))?;
        }
        Ok(state.job(id).cloned())
    }

    /// Whether the rows are of this program's [`VERSION`].
    pub fn are_current(&self) -> Result<bool, LogError> {
        Ok(self.reader.row(VERSION_ROW)?.as_deref() == Some(&[VERSION]))
    }

    /// A job's events, oldest first: a walk back from its newest one.
    pub fn history(&self, job: &Job) -> Result<Vec<Envelope>, LogError> {
        let mut events = Vec::new();
        let mut next = job.head;
        while next != Seq::ZERO {
            let event = self.reader.event(next)?;
            let event = event.ok_or_else(|| LogError::corrupt(format!("event {next}"), "it is missing"))?;
            if event.job != job.id || event.prev >= next {
                return Err(LogError::corrupt(
                    format!("event {next}"),
                    format!("it is no event of batch '{}'", job.id),
                ));
            }
            next = event.prev;
            events.push(event);
        }
        events.reverse();
        Ok(events)
    }
}

fn read<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, LogError> {
    codec::decode(bytes).map_err(|unreadable| unreadable.at(format!("row {}", key.escape_ascii())))
}
