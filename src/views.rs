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
//! | `q` delivery id | the delivery, while an attempt is to be made or is being made |
//! | `d` delivery id | the delivery, once it is finished |
//! | `l` block of positions | the jobs and deliveries that came to be there: lists, by age; see `places` |
//! | `x` dead letter number | the dead letter |
//! | `i` class, block | which jobs, deliveries and dead letters are of that class: see `index` |
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

use std::collections::BTreeMap;

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
use places::{Newcomer, Places};

pub mod answers;
mod index;
mod letters;
mod places;
mod rows;

pub use letters::{LetterFilter, LetterPage};
pub use rows::{DERIVED, all_rows, changes, payload};

/// The form of the rows. One higher for every change of what is derived from events, or of how it is stored.
pub const VERSION: u8 = 4;

/// Where the store's version of the rows stands.
const VERSION_ROW: &[u8] = b"m/views";

/// The row that says that the rows are of this [`VERSION`].
#[must_use]
pub fn version_row() -> RowWrite {
    rows::put(VERSION_ROW.to_vec(), vec![VERSION])
}

/// The row that takes that back.
#[must_use]
pub fn no_version_row() -> RowWrite {
    rows::remove(VERSION_ROW.to_vec())
}

/// For each job that is wanted of a status, so many are looked at together.
const SEARCHED: usize = 4;

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
        // Commits may move it from the queue and back between two looks; each takes longer than a look.
        for _ in 0..3 {
            for key in [rows::queue_key(id), rows::delivery_key(id)] {
                if let Some(delivery) = self.row(&key)? {
                    return Ok(Some(delivery));
                }
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
        // One that has moved on since the index was read is not what was asked for.
        let wanted = |job: &Job| status.is_none_or(|status| status == job.status);
        let newcomers = self.newcomers(status.map(|status| vec![Class::jobs(status)]), before);
        let jobs = newcomers.filter_map(|newcomer| match newcomer {
            Ok(Newcomer::Job(id)) => Some(self.known_job(&id)),
            Ok(Newcomer::Delivery(_)) => None,
            Err(error) => Some(Err(error)),
        });
        jobs.filter(|job| job.as_ref().map_or(true, wanted)).take(limit).collect()
    }

    /// Up to `limit` jobs whose ids begin with `prefix`, by id, after `after`; of that `status` alone, if one is given: then
    /// it is looked at all whose ids begin so, until there are enough.
    pub fn jobs_named(
        &self,
        prefix: &str,
        status: Option<Status>,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, LogError> {
        let chunk = if status.is_none() { limit } else { limit.saturating_mul(SEARCHED) };
        let mut jobs = BTreeMap::new();
        // A job moves from the first place to the second when it ends, and never back: looked at in this order, none is
        // missed.
        let places = [("a", after.map(rows::active_key), false), ("j", after.map(rows::job_key), true)];
        for (place, mut key, has_ended) in places {
            let prefix = [place, prefix].concat();
            let mut left = if status.is_none_or(|status| status.is_terminal() == has_ended) { limit } else { 0 };
            while left > 0 {
                let rows = self.reader.rows(prefix.as_bytes(), Order::Ascending, key.as_deref(), chunk)?;
                for (key, bytes) in &rows {
                    let job: Job = read(key, bytes)?;
                    if status.is_none_or(|status| status == job.status) {
                        left = left.saturating_sub(1);
                        jobs.insert(job.id.clone(), job);
                    }
                }
                key = rows.last().filter(|_| rows.len() == chunk).map(|(key, _)| key.clone());
                if key.is_none() {
                    break;
                }
            }
        }
        Ok(jobs.into_values().take(limit).collect())
    }

    fn known_job(&self, id: &JobId) -> Result<Job, LogError> {
        self.job(id)?.ok_or_else(|| LogError::corrupt(format!("the row of batch '{id}'"), "it is missing"))
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
            let deliveries = self.backwards(&job).filter_map(|event| match event {
                Ok(Envelope { seq, event: Event::DeliveryScheduled { delivery, .. }, .. }) => {
                    before.is_none_or(|before| seq < before).then(|| self.known_delivery(delivery))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            });
            return deliveries.filter(wanted).take(limit).collect();
        }
        let is_filtered = *filter != DeliveryFilter::default();
        let newcomers = self.newcomers(is_filtered.then(|| filter.classes()), before);
        let deliveries = newcomers.filter_map(|newcomer| match newcomer {
            Ok(Newcomer::Delivery(id)) => Some(self.known_delivery(id)),
            Ok(Newcomer::Job(_)) => None,
            Err(error) => Some(Err(error)),
        });
        deliveries.filter(wanted).take(limit).collect()
    }

    fn known_delivery(&self, id: DeliveryId) -> Result<Delivery, LogError> {
        self.delivery(id)?.ok_or_else(|| LogError::corrupt(format!("the row of delivery {id}"), "it is missing"))
    }

    /// What came to be before position `before`, newest first: that of `classes`, or all.
    fn newcomers(
        &self,
        classes: Option<Vec<Class>>,
        before: Option<Seq>,
    ) -> Box<dyn Iterator<Item = Result<Newcomer, LogError>> + 'a> {
        let before = before.map_or(u64::MAX, |before| before.0);
        let mut places = Places::new(self.reader);
        match classes {
            Some(classes) => {
                let numbers = Index(self.reader).numbers(classes, before);
                Box::new(numbers.map(move |at| places.newcomer(Seq(at?))))
            }
            None => Box::new(places.newest_first(before)),
        }
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
        for envelope in self.told(self.positions(&job)?.into_iter().take_while(|seq| *seq <= at)) {
            evolve(&mut state, &envelope?)
                .map_err(|illegal| LogError::corrupt("a batch's history", illegal.to_string()))?;
        }
        Ok(state.job(id).cloned())
    }

    /// Whether the rows are of this program's [`VERSION`].
    pub fn are_current(&self) -> Result<bool, LogError> {
        Ok(self.reader.row(VERSION_ROW)?.as_deref() == Some(&[VERSION]))
    }

    /// A job's events, oldest first.
    pub fn history(&self, job: &Job) -> Result<Vec<Envelope>, LogError> {
        self.told(self.positions(job)?.into_iter()).collect()
    }

    /// Up to `limit` of a job's events after position `after`, oldest first.
    pub fn history_after(&self, job: &Job, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError> {
        self.told(self.positions(job)?.into_iter().filter(|seq| *seq > after).take(limit)).collect()
    }

    /// The positions of a job's events, oldest first. They may be many, and each is small.
    fn positions(&self, job: &Job) -> Result<Vec<Seq>, LogError> {
        let positions: Result<Vec<_>, _> = self.backwards(job).map(|event| event.map(|event| event.seq)).collect();
        positions.map(|mut positions| {
            positions.reverse();
            positions
        })
    }

    /// The events at `positions`, one after another.
    fn told(&self, positions: impl Iterator<Item = Seq>) -> impl Iterator<Item = Result<Envelope, LogError>> {
        let mut near = Near { reader: self.reader, read: Vec::new() };
        positions.map(move |seq| near.event(seq))
    }

    /// A job's events, newest first: each names the one before it.
    fn backwards(&self, job: &Job) -> impl Iterator<Item = Result<Envelope, LogError>> + use<'a> {
        let (id, mut next) = (job.id.clone(), job.head);
        let mut near = Near { reader: self.reader, read: Vec::new() };
        std::iter::from_fn(move || {
            if next == Seq::ZERO {
                return None;
            }
            let seq = std::mem::replace(&mut next, Seq::ZERO);
            let event = near.event(seq).and_then(|event| {
                if event.job == id && event.prev < seq {
                    next = event.prev;
                    return Ok(event);
                }
                Err(LogError::corrupt(format!("event {seq}"), format!("it is no event of batch '{id}'")))
            });
            Some(event)
        })
    }
}

/// Reads events that lie near one another: a commit is read once.
struct Near<'a> {
    reader: &'a dyn LogReader,
    /// The events of the commit that was read last, in order.
    read: Vec<Envelope>,
}

impl Near<'_> {
    fn event(&mut self, seq: Seq) -> Result<Envelope, LogError> {
        let find = |read: &[Envelope]| read.iter().find(|event| event.seq == seq).cloned();
        if let Some(event) = find(&self.read) {
            return Ok(event);
        }
        self.read = self.reader.neighbours(seq)?;
        find(&self.read).ok_or_else(|| LogError::corrupt(format!("event {seq}"), "it is missing"))
    }
}

fn read<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, LogError> {
    codec::decode(bytes).map_err(|unreadable| unreadable.at(format!("row {}", key.escape_ascii())))
}
