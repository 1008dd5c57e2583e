//! What anyone sees, as rows that are written in the same commit as the events that change them.
//!
//! A row is a function of the state that the events lead to, so a replay from the beginning gives equal rows; a command
//! and a test hold that. Keys begin with a letter:
//!
//! | key | value |
//! | --- | --- |
//! | `a` job id | the job, while it is not terminal |
//! | `j` job id | the job, once it is |
//! | `l` position of its registration | the job's id: lists of jobs, by age |
//! | `q` delivery id | the delivery, while an attempt is to be made or is being made |
//! | `d` delivery id | the delivery, once it is finished |
//! | `x` dead letter number | the dead letter |
//! | `t` | the totals |
//! | `p` delivery id, chunk | the payload's bytes |

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::domain::delivery::{DeadLetter, Delivery};
use crate::domain::event::Envelope;
use crate::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use crate::domain::job::Job;
use crate::domain::state::{Entity, State, Totals};
use crate::log::{LogError, LogReader, Order, RowWrite, codec};

/// The largest piece of a payload in one row, in bytes: with its header it stays under the log's limit for a value.
const CHUNK: usize = 60 * 1024;

/// The rows of what events after position `after` have changed in `state`.
#[must_use]
pub fn changes(state: &mut State, after: Seq) -> Vec<RowWrite> {
    let mut writes = Vec::new();
    for (entity, moved) in state.take_touched() {
        match entity {
            Entity::Job(id) => {
                let Some(job) = state.job(&id) else { continue };
                let is_new = job.registered > after;
                writes.extend(is_new.then(|| listed(job)));
                writes.push(job_row(job));
                writes.extend((moved && !is_new).then(|| remove(active_key(&id))));
            }
            Entity::Delivery(id) => {
                let Some(delivery) = state.delivery(id) else { continue };
                let elsewhere = if delivery.is_active() { delivery_key(id) } else { queue_key(id) };
                writes.push(delivery_row(delivery));
                writes.extend(moved.then(|| remove(elsewhere)));
            }
            Entity::DeadLetter(id) => {
                writes.push(RowWrite { key: dead_letter_key(id), value: state.dead_letter(id).map(codec::encode) });
            }
            Entity::Totals => writes.push(put(b"t".to_vec(), codec::encode(&state.totals()))),
        }
    }
    writes
}

fn put(key: Vec<u8>, value: Vec<u8>) -> RowWrite {
    RowWrite { key, value: Some(value) }
}

const fn remove(key: Vec<u8>) -> RowWrite {
    RowWrite { key, value: None }
}

fn job_row(job: &Job) -> RowWrite {
    let key = if job.status.is_terminal() { job_key(&job.id) } else { active_key(&job.id) };
    put(key, codec::encode(job))
}

/// The row of a job that is written once, with its registration.
fn listed(job: &Job) -> RowWrite {
    put(list_key(job.registered), job.id.as_str().as_bytes().to_vec())
}

fn delivery_row(delivery: &Delivery) -> RowWrite {
    let key = if delivery.is_active() { queue_key(delivery.id) } else { delivery_key(delivery.id) };
    put(key, codec::encode(delivery))
}

/// The rows of a payload: its length and its beginning, then the rest in pieces.
#[must_use]
pub fn payload(delivery: DeliveryId, bytes: &[u8]) -> Vec<RowWrite> {
    let whole = [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
    let chunks = whole.chunks(CHUNK).zip(0_u8..);
    chunks.map(|(chunk, number)| put(payload_key(delivery, &[number]), chunk.to_vec())).collect()
}

fn job_key(id: &JobId) -> Vec<u8> {
    [b"j", id.as_str().as_bytes()].concat()
}

fn list_key(registered: Seq) -> Vec<u8> {
    [&b"l"[..], &registered.0.to_be_bytes()].concat()
}

fn active_key(id: &JobId) -> Vec<u8> {
    [b"a", id.as_str().as_bytes()].concat()
}

fn delivery_key(id: DeliveryId) -> Vec<u8> {
    [&b"d"[..], &id.0.to_be_bytes()].concat()
}

fn queue_key(id: DeliveryId) -> Vec<u8> {
    [&b"q"[..], &id.0.to_be_bytes()].concat()
}

fn dead_letter_key(id: DeadLetterId) -> Vec<u8> {
    [&b"x"[..], &id.0.to_be_bytes()].concat()
}

fn payload_key(id: DeliveryId, chunk: &[u8]) -> Vec<u8> {
    [&b"p"[..], &id.0.to_be_bytes(), chunk].concat()
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
        self.row(&active_key(id)).transpose().or_else(|| self.row(&job_key(id)).transpose()).transpose()
    }

    /// A delivery.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, LogError> {
        // A redelivery may move it back to the queue between two looks, so that is where the last look goes.
        for key in [queue_key(id), delivery_key(id), queue_key(id)] {
            if let Some(delivery) = self.row(&key)? {
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    /// A dead letter.
    pub fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, LogError> {
        self.row(&dead_letter_key(id))
    }

    /// The totals.
    pub fn totals(&self) -> Result<Totals, LogError> {
        self.row(b"t").map(Option::unwrap_or_default)
    }

    /// The exact bytes of a delivery; `None` when they were erased.
    pub fn payload(&self, id: DeliveryId) -> Result<Option<Vec<u8>>, LogError> {
        let chunks = self.reader.rows(&payload_key(id, &[]), Order::Ascending, None, usize::MAX)?;
        if chunks.is_empty() {
            return Ok(None);
        }
        let whole: Vec<u8> = chunks.into_iter().flat_map(|(_, chunk)| chunk).collect();
        match whole.split_first_chunk() {
            Some((length, bytes)) if u64::from_be_bytes(*length) == bytes.len() as u64 => Ok(Some(bytes.to_vec())),
            _ => Err(LogError::corrupt(format!("the payload of delivery {id}"), "a part of it is missing")),
        }
    }

    /// Up to `limit` jobs that were registered before position `before`, newest first.
    pub fn jobs(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Job>, LogError> {
        let after = before.map(list_key);
        let listed = self.reader.rows(b"l", Order::Descending, after.as_deref(), limit)?;
        let job = |(key, id): (Vec<u8>, Vec<u8>)| {
            let wrong = |why: &str| LogError::corrupt(format!("row {}", key.escape_ascii()), why);
            let id = std::str::from_utf8(&id).ok().and_then(|id| JobId::new(id).ok());
            self.job(&id.ok_or_else(|| wrong("it is no batch id"))?)?
                .ok_or_else(|| wrong("it lists a batch that is missing"))
        };
        listed.into_iter().map(job).collect()
    }

    /// Up to `limit` dead letters with smaller numbers than `before`, newest first.
    pub fn dead_letters(&self, before: Option<DeadLetterId>, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        let after = before.map(dead_letter_key);
        let rows = self.reader.rows(b"x", Order::Descending, after.as_deref(), limit)?;
        rows.iter().map(|(key, bytes)| read(key, bytes)).collect()
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

/// Every row that a state stands for, for a comparison with the stored ones. Payloads are not derived and not among them.
#[must_use]
pub fn all_rows(state: &State) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let jobs = state.jobs().flat_map(|job| [listed(job), job_row(job)]);
    let deliveries = state.deliveries().map(delivery_row);
    let letters = state.dead_letters().map(|letter| put(dead_letter_key(letter.id), codec::encode(letter)));
    let totals = (state.totals() != Totals::default()).then(|| put(b"t".to_vec(), codec::encode(&state.totals())));
    let writes = jobs.chain(deliveries).chain(letters).chain(totals);
    writes.filter_map(|write| Some((write.key, write.value?))).collect()
}

/// The prefixes of all rows that are derived from events.
pub const DERIVED: [&[u8]; 7] = [b"a", b"d", b"j", b"l", b"q", b"t", b"x"];
