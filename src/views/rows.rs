//! Which rows events change, and what stands in them. Keys begin with a letter; see the table of the views.

use std::collections::BTreeMap;

use super::index::{self, Class};
use super::places::{self, Newcomer};
use crate::domain::delivery::{DeadLetter, Delivery, DeliveryStatus};
use crate::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use crate::domain::job::{Job, Status};
use crate::domain::state::{Entity, Standing, State, Totals};
use crate::domain::webhook::EventKind;
use crate::log::{LogError, LogReader, RowWrite, codec};

/// The largest piece of something long in one row, in bytes: with its header it stays under the log's limit for a value.
const CHUNK: usize = 60 * 1024;

/// The prefixes of all rows that are derived from events.
pub const DERIVED: [&[u8]; 8] = [b"a", b"d", b"i", b"j", b"l", b"q", b"t", b"x"];

/// The rows of what events have changed in `state` since this was last asked; `current` gives rows as they are stored.
///
/// # Errors
/// When a row can't be read.
pub fn changes(
    state: &mut State,
    current: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, LogError>,
) -> Result<Vec<RowWrite>, LogError> {
    let mut draft = Draft::default();
    for (entity, before) in state.take_touched() {
        match entity {
            Entity::Job(id) => {
                let before = if let Some(Standing::Job(at, status)) = before { Some((at, status)) } else { None };
                let after = state.job(&id);
                // A pruned one's id may be another's by now.
                let gone = before.filter(|(at, _)| after.is_none_or(|job| job.registered != *at));
                if let Some((at, status)) = gone {
                    draft.no_job(&id, at, status);
                }
                if let Some(job) = after {
                    draft.job(job, before.filter(|_| gone.is_none()).map(|(_, status)| status));
                }
            }
            Entity::Delivery(id) => match (state.delivery(id), before) {
                (Some(delivery), Some(Standing::Delivery(_, status, _))) => draft.delivery(delivery, Some(status)),
                (Some(delivery), _) => draft.delivery(delivery, None),
                (None, Some(Standing::Delivery(at, status, kind))) => draft.no_delivery(id, at, status, kind),
                (None, _) => {}
            },
            Entity::DeadLetter(id) => {
                let before = if let Some(Standing::DeadLetter(letter)) = before { Some(letter) } else { None };
                draft.dead_letter(id, before.as_deref(), state.dead_letter(id));
            }
            Entity::Totals => draft.totals(state.totals()),
        }
    }
    draft.finish(current)
}

/// Rows as they come together.
#[derive(Default)]
struct Draft {
    writes: Vec<RowWrite>,
    places: places::Changes,
    index: index::Changes,
}

impl Draft {
    fn job(&mut self, job: &Job, before: Option<Status>) {
        self.writes.push(job_row(job));
        match before {
            None => self.places.add(job.registered, Newcomer::Job(job.id.clone())),
            Some(before) if !before.is_terminal() && job.status.is_terminal() => {
                self.writes.push(remove(active_key(&job.id)));
            }
            Some(_) => {}
        }
        self.moved(job.registered.0, before.map(Class::jobs).as_ref(), &Class::jobs(job.status));
    }

    fn no_job(&mut self, id: &JobId, registered: Seq, status: Status) {
        self.writes.push(remove(if status.is_terminal() { job_key(id) } else { active_key(id) }));
        self.places.remove(registered);
        self.index.remove(&Class::jobs(status), registered.0);
    }

    fn delivery(&mut self, delivery: &Delivery, before: Option<DeliveryStatus>) {
        let (id, kind, after) = (delivery.id, delivery.kind, delivery.state.status());
        self.writes.push(delivery_row(delivery));
        match before {
            None => {
                self.places.add(delivery.scheduled, Newcomer::Delivery(id));
                self.index.add(&Class::deliveries_of(kind), delivery.scheduled.0);
            }
            Some(before) if before.is_active() && !after.is_active() => self.writes.push(remove(queue_key(id))),
            Some(before) if !before.is_active() && after.is_active() => self.writes.push(remove(delivery_key(id))),
            Some(_) => {}
        }
        let class = |status| Class::deliveries(status, kind);
        self.moved(delivery.scheduled.0, before.map(class).as_ref(), &class(after));
    }

    fn no_delivery(&mut self, id: DeliveryId, scheduled: Seq, status: DeliveryStatus, kind: EventKind) {
        self.writes.push(remove(if status.is_active() { queue_key(id) } else { delivery_key(id) }));
        self.places.remove(scheduled);
        self.index.remove(&Class::deliveries_of(kind), scheduled.0);
        self.index.remove(&Class::deliveries(status, kind), scheduled.0);
    }

    fn dead_letter(&mut self, id: DeadLetterId, before: Option<&DeadLetter>, after: Option<&DeadLetter>) {
        self.writes.push(RowWrite { key: dead_letter_key(id), value: after.map(codec::encode) });
        for class in before.into_iter().flat_map(letter_classes) {
            self.index.remove(&class, id.0);
        }
        for class in after.into_iter().flat_map(letter_classes) {
            self.index.add(&class, id.0);
        }
    }

    /// Where nothing is counted, there is no row.
    fn totals(&mut self, totals: Totals) {
        let value = (totals != Totals::default()).then(|| codec::encode(&totals));
        self.writes.push(RowWrite { key: b"t".to_vec(), value });
    }

    fn moved(&mut self, number: u64, from: Option<&Class>, to: &Class) {
        if from == Some(to) {
            return;
        }
        if let Some(from) = from {
            self.index.remove(from, number);
        }
        self.index.add(to, number);
    }

    fn finish(
        mut self,
        current: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, LogError>,
    ) -> Result<Vec<RowWrite>, LogError> {
        self.writes.extend(self.places.rows(&current)?);
        self.writes.extend(self.index.rows(&current)?);
        Ok(self.writes)
    }
}

fn letter_classes(letter: &DeadLetter) -> [Class; 3] {
    let DeadLetter { kind, url, .. } = letter;
    [Class::letters_of(*kind), Class::letters(*kind, letter.is_resolved()), Class::letters_to(url)]
}

/// Every row that a state stands for, for a comparison with the stored ones. Payloads are not derived and not among them.
#[must_use]
pub fn all_rows(state: &State) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut draft = Draft::default();
    state.jobs().for_each(|job| draft.job(job, None));
    state.deliveries().for_each(|delivery| draft.delivery(delivery, None));
    state.dead_letters().for_each(|letter| draft.dead_letter(letter.id, None, Some(letter)));
    draft.totals(state.totals());
    // Reading nothing can't fail.
    let writes = draft.finish(|_| Ok(None)).unwrap_or_default();
    writes.into_iter().filter_map(|write| Some((write.key, write.value?))).collect()
}

/// The rows of something that may be too long for one: its length and its beginning, then the rest in pieces. `key` gives
/// the key of a piece.
fn pieces(bytes: &[u8], key: impl Fn(&[u8]) -> Vec<u8>) -> Vec<RowWrite> {
    let whole = [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
    let chunks = whole.chunks(CHUNK).zip(0_u8..);
    chunks.map(|(chunk, number)| put(key(&[number]), chunk.to_vec())).collect()
}

/// What [`pieces`] were made of; `None` when one is missing.
pub(super) fn joined(pieces: &[(Vec<u8>, Vec<u8>)]) -> Option<Vec<u8>> {
    let whole: Vec<u8> = pieces.iter().flat_map(|(_, chunk)| chunk).copied().collect();
    let (length, bytes) = whole.split_first_chunk()?;
    (u64::from_be_bytes(*length) == bytes.len() as u64).then(|| bytes.to_vec())
}

/// The rows of a payload.
#[must_use]
pub fn payload(delivery: DeliveryId, bytes: &[u8]) -> Vec<RowWrite> {
    pieces(bytes, |chunk| payload_key(delivery, chunk))
}

/// The keys of a payload's rows, as far as they are there.
///
/// # Errors
/// When the storage can't be read.
pub fn payload_keys(reader: &dyn LogReader, delivery: DeliveryId) -> Result<Vec<Vec<u8>>, LogError> {
    reader.keys(&payload_key(delivery, &[]), usize::MAX)
}

/// The rows of an answer that is kept under an idempotency key.
pub(super) fn kept(key: &[u8; 32], bytes: &[u8]) -> Vec<RowWrite> {
    pieces(bytes, |chunk| kept_key(key, chunk))
}

pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> RowWrite {
    RowWrite { key, value: Some(value) }
}

pub(super) const fn remove(key: Vec<u8>) -> RowWrite {
    RowWrite { key, value: None }
}

fn job_row(job: &Job) -> RowWrite {
    let key = if job.status.is_terminal() { job_key(&job.id) } else { active_key(&job.id) };
    put(key, codec::encode(job))
}

fn delivery_row(delivery: &Delivery) -> RowWrite {
    let key = if delivery.is_active() { queue_key(delivery.id) } else { delivery_key(delivery.id) };
    put(key, codec::encode(delivery))
}

pub(super) fn job_key(id: &JobId) -> Vec<u8> {
    [b"j", id.as_str().as_bytes()].concat()
}

pub(super) fn active_key(id: &JobId) -> Vec<u8> {
    [b"a", id.as_str().as_bytes()].concat()
}

pub(super) fn delivery_key(id: DeliveryId) -> Vec<u8> {
    [&b"d"[..], &id.0.to_be_bytes()].concat()
}

pub(super) fn queue_key(id: DeliveryId) -> Vec<u8> {
    [&b"q"[..], &id.0.to_be_bytes()].concat()
}

pub(super) fn dead_letter_key(id: DeadLetterId) -> Vec<u8> {
    [&b"x"[..], &id.0.to_be_bytes()].concat()
}

pub(super) fn payload_key(id: DeliveryId, chunk: &[u8]) -> Vec<u8> {
    [&b"p"[..], &id.0.to_be_bytes(), chunk].concat()
}

pub(super) fn kept_key(key: &[u8; 32], chunk: &[u8]) -> Vec<u8> {
    [&b"k"[..], key, chunk].concat()
}
