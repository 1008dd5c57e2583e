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
use crate::domain::event::Envelope;
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
pub use rows::{DERIVED, all_rows, changes, payload, payload_keys};

/// The form of the rows. One higher for every change of what is derived from events, or of how it is stored.
pub const VERSION: u8 = 5;

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
            Ok((at, Newcomer::Job(id))) => self.listed_job(at, &id).transpose(),
            Ok((_, Newcomer::Delivery(_))) => None,
            Err(error) => Some(Err(error)),
        });
        jobs.filter(|job| job.as_ref().map_or(true, wanted)).take(limit).collect()
    }

    /// The job that a list has at position `at`; `None` when it was pruned since that was read.
    fn listed_job(&self, at: Seq, id: &JobId) -> Result<Option<Job>, LogError> {
        let job = self.job(id)?.filter(|job| job.registered == at);
        let is_missing = job.is_none() && Places::new(self.reader).newcomer(at)?.is_some();
        if is_missing { Err(missing(format!("the row of batch '{id}'"))) } else { Ok(job) }
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
            let is_before = |delivery: &Delivery| before.is_none_or(|before| delivery.scheduled < before);
            let deliveries = self.deliveries_of(&job).filter(|delivery| delivery.as_ref().map_or(true, is_before));
            return deliveries.filter(wanted).take(limit).collect();
        }
        let is_filtered = *filter != DeliveryFilter::default();
        let newcomers = self.newcomers(is_filtered.then(|| filter.classes()), before);
        let deliveries = newcomers.filter_map(|newcomer| match newcomer {
            Ok((at, Newcomer::Delivery(id))) => self.listed_delivery(at, id).transpose(),
            Ok((_, Newcomer::Job(_))) => None,
            Err(error) => Some(Err(error)),
        });
        deliveries.filter(wanted).take(limit).collect()
    }

    /// As [`listed_job`](Self::listed_job).
    fn listed_delivery(&self, at: Seq, id: DeliveryId) -> Result<Option<Delivery>, LogError> {
        let delivery = self.delivery(id)?;
        let is_missing = delivery.is_none() && Places::new(self.reader).newcomer(at)?.is_some();
        if is_missing { Err(missing(format!("the row of delivery {id}"))) } else { Ok(delivery) }
    }

    /// A job's deliveries, newest first: each names the one before it. None any more when the job was pruned since its row
    /// was read.
    pub fn deliveries_of(&self, job: &Job) -> impl Iterator<Item = Result<Delivery, LogError>> + use<'a> {
        let (views, job) = (*self, job.clone());
        let mut next = job.latest.as_ref().map(|latest| latest.id);
        std::iter::from_fn(move || {
            let id = next.take()?;
            let found = views.delivery(id).and_then(|delivery| match delivery {
                None if views.is_there(&job)? => Err(missing(format!("the row of delivery {id}"))),
                delivery => Ok(delivery),
            });
            next = found.as_ref().ok().and_then(|delivery| delivery.as_ref()?.previous);
            found.transpose()
        })
    }

    /// Whether a job that was read is there still: it may have been pruned since.
    fn is_there(&self, job: &Job) -> Result<bool, LogError> {
        Ok(self.job(&job.id)?.is_some_and(|now| now.registered == job.registered))
    }

    /// What came to be before position `before`, newest first: that of `classes`, or all.
    fn newcomers(
        &self,
        classes: Option<Vec<Class>>,
        before: Option<Seq>,
    ) -> Box<dyn Iterator<Item = Result<(Seq, Newcomer), LogError>> + 'a> {
        let before = before.map_or(u64::MAX, |before| before.0);
        let mut places = Places::new(self.reader);
        let Some(classes) = classes else { return Box::new(places.newest_first(before)) };
        let index = Index(self.reader);
        let mut newcomer = move |at: u64, classes: &[Class]| match places.newcomer(Seq(at))? {
            // Pruned since the index was read, if that does not say so any more.
            None if !index.holds(classes, at)? => Ok(None),
            None => Err(missing(format!("the list's row of event {at}"))),
            Some(newcomer) => Ok(Some((Seq(at), newcomer))),
        };
        let numbers = index.numbers(classes.clone(), before);
        Box::new(numbers.filter_map(move |at| at.and_then(|at| newcomer(at, &classes)).transpose()))
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
        for envelope in self.told(&job, self.positions(&job)?.into_iter().take_while(|seq| *seq <= at)) {
            evolve(&mut state, &envelope?)
                .map_err(|illegal| LogError::corrupt("a batch's history", illegal.to_string()))?;
        }
        Ok(state.job(id).cloned())
    }

    /// Whether the rows are of this program's [`VERSION`].
    pub fn are_current(&self) -> Result<bool, LogError> {
        Ok(self.reader.row(VERSION_ROW)?.as_deref() == Some(&[VERSION]))
    }

    /// A job's events, oldest first; [`LogError::Pruned`] when it was pruned since its row was read. So with every method
    /// here that reads events.
    pub fn history(&self, job: &Job) -> Result<Vec<Envelope>, LogError> {
        self.told(job, self.positions(job)?.into_iter()).collect()
    }

    /// Up to `limit` of a job's events after position `after`, oldest first.
    pub fn history_after(&self, job: &Job, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError> {
        self.told(job, self.positions(job)?.into_iter().filter(|seq| *seq > after).take(limit)).collect()
    }

    /// The positions of a job's events, oldest first. They may be many, and each is small.
    fn positions(&self, job: &Job) -> Result<Vec<Seq>, LogError> {
        let positions: Result<Vec<_>, _> = self.backwards(job).map(|event| event.map(|event| event.seq)).collect();
        positions.map(|mut positions| {
            positions.reverse();
            positions
        })
    }

    /// A job's events at `positions`, one after another.
    fn told(
        &self,
        job: &Job,
        positions: impl Iterator<Item = Seq>,
    ) -> impl Iterator<Item = Result<Envelope, LogError>> {
        let mut near = Near { views: *self, job: job.clone(), read: Vec::new() };
        positions.map(move |seq| near.event(seq))
    }

    /// A job's events, newest first: each names the one before it.
    fn backwards(&self, job: &Job) -> impl Iterator<Item = Result<Envelope, LogError>> + use<'a> {
        let mut next = job.head;
        let mut near = Near { views: *self, job: job.clone(), read: Vec::new() };
        std::iter::from_fn(move || {
            if next == Seq::ZERO {
                return None;
            }
            let seq = std::mem::replace(&mut next, Seq::ZERO);
            let event = near.event(seq);
            next = event.as_ref().map_or(Seq::ZERO, |event| event.prev);
            Some(event)
        })
    }
}

/// Reads events of a job that lie near one another: a commit is read once, and what was carried over the log's horizon is.
struct Near<'a> {
    views: Views<'a>,
    job: Job,
    /// The events that were read last, in order.
    read: Vec<Envelope>,
}

impl Near<'_> {
    fn event(&mut self, seq: Seq) -> Result<Envelope, LogError> {
        let event = match self.find(seq) {
            Some(event) => event,
            None => self.look_up(seq)?,
        };
        if event.job == self.job.id && event.prev < seq {
            return Ok(event);
        }
        Err(LogError::corrupt(format!("event {seq}"), format!("it is no event of batch '{}'", self.job.id)))
    }

    fn find(&self, seq: Seq) -> Option<Envelope> {
        let at = self.read.binary_search_by_key(&seq, |event| event.seq).ok()?;
        self.read.get(at).cloned()
    }

    /// In the log, or else among what was carried: in this order, as an event goes from there to here.
    fn look_up(&mut self, seq: Seq) -> Result<Envelope, LogError> {
        let reader = self.views.reader;
        self.read = reader.neighbours(seq)?;
        if let Some(event) = self.find(seq) {
            return Ok(event);
        }
        self.read = reader.carried(&self.job.id)?;
        match self.find(seq) {
            Some(event) => Ok(event),
            None if self.views.is_there(&self.job)? => Err(missing(format!("event {seq}"))),
            None => Err(LogError::Pruned { horizon: reader.anchor()?.horizon }),
        }
    }
}

fn missing(place: String) -> LogError {
    LogError::corrupt(place, "it is missing")
}

fn read<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, LogError> {
    codec::decode(bytes).map_err(|unreadable| unreadable.at(format!("row {}", key.escape_ascii())))
}
