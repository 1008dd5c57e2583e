//! Which rows events change, and what stands in them. Keys begin with a letter; see the table of the views.

use std::collections::BTreeMap;

use super::index::{Changes, Class};
use crate::domain::delivery::{DeadLetter, Delivery};
use crate::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use crate::domain::job::Job;
use crate::domain::state::{Entity, Standing, State, Totals};
use crate::log::{LogError, RowWrite, codec};

/// The largest piece of something long in one row, in bytes: with its header it stays under the log's limit for a value.
const CHUNK: usize = 60 * 1024;

/// The prefixes of all rows that are derived from events.
pub const DERIVED: [&[u8]; 9] = [b"a", b"d", b"i", b"j", b"l", b"q", b"t", b"v", b"x"];

/// The rows of what events have changed in `state` since this was last asked; `current` gives rows as they are stored.
///
/// # Errors
/// When a row can't be read.
pub fn changes(
    state: &mut State,
    current: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, LogError>,
) -> Result<Vec<RowWrite>, LogError> {
    let (mut writes, mut index) = (Vec::new(), Changes::default());
    for (entity, before) in state.take_touched() {
        match entity {
            Entity::Job(id) => {
                let Some(job) = state.job(&id) else { continue };
                job_changes(job, before.as_ref(), &mut writes, &mut index);
            }
            Entity::Delivery(id) => {
                let Some(delivery) = state.delivery(id) else { continue };
                delivery_changes(delivery, before.as_ref(), &mut writes, &mut index);
            }
            Entity::DeadLetter(id) => {
                let after = state.dead_letter(id);
                writes.push(RowWrite { key: dead_letter_key(id), value: after.map(codec::encode) });
                if let Some(Standing::DeadLetter(letter)) = before {
                    for class in letter_classes(&letter) {
                        index.remove(&class, id.0);
                    }
                }
                for class in after.iter().flat_map(|letter| letter_classes(letter)) {
                    index.add(&class, id.0);
                }
            }
            Entity::Totals => writes.push(put(b"t".to_vec(), codec::encode(&state.totals()))),
        }
    }
    writes.extend(index.rows(current)?);
    Ok(writes)
}

fn job_changes(job: &Job, before: Option<&Standing>, writes: &mut Vec<RowWrite>, index: &mut Changes) {
    let number = job.registered.0;
    let before = if let Some(Standing::Job(status)) = before { Some(*status) } else { None };
    writes.push(job_row(job));
    match before {
        None => writes.push(listed(job)),
        Some(before) if !before.is_terminal() && job.status.is_terminal() => writes.push(remove(active_key(&job.id))),
        Some(_) => {}
    }
    if before != Some(job.status) {
        if let Some(before) = before {
            index.remove(&Class::jobs(before), number);
        }
        index.add(&Class::jobs(job.status), number);
    }
}

fn delivery_changes(delivery: &Delivery, before: Option<&Standing>, writes: &mut Vec<RowWrite>, index: &mut Changes) {
    let (id, number, after) = (delivery.id, delivery.scheduled.0, delivery.state.status());
    let before = if let Some(Standing::Delivery(status)) = before { Some(*status) } else { None };
    writes.push(delivery_row(delivery));
    match before {
        None => {
            writes.push(scheduled(delivery));
            index.add(&Class::deliveries_of(delivery.kind), number);
        }
        Some(before) if before.is_active() && !after.is_active() => writes.push(remove(queue_key(id))),
        Some(before) if !before.is_active() && after.is_active() => writes.push(remove(delivery_key(id))),
        Some(_) => {}
    }
    if before != Some(after) {
        if let Some(before) = before {
            index.remove(&Class::deliveries(before, delivery.kind), number);
        }
        index.add(&Class::deliveries(after, delivery.kind), number);
    }
}

fn letter_classes(letter: &DeadLetter) -> [Class; 3] {
    let DeadLetter { kind, url, .. } = letter;
    [Class::letters_of(*kind), Class::letters(*kind, letter.is_resolved()), Class::letters_to(url)]
}

/// Every row that a state stands for, for a comparison with the stored ones. Payloads are not derived and not among them.
#[must_use]
pub fn all_rows(state: &State) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let jobs = state.jobs().flat_map(|job| [listed(job), job_row(job)]);
    let deliveries = state.deliveries().flat_map(|delivery| [scheduled(delivery), delivery_row(delivery)]);
    let letters = state.dead_letters().map(|letter| put(dead_letter_key(letter.id), codec::encode(letter)));
    let totals = (state.totals() != Totals::default()).then(|| put(b"t".to_vec(), codec::encode(&state.totals())));
    let mut index = Changes::default();
    for job in state.jobs() {
        index.add(&Class::jobs(job.status), job.registered.0);
    }
    for delivery in state.deliveries() {
        index.add(&Class::deliveries_of(delivery.kind), delivery.scheduled.0);
        index.add(&Class::deliveries(delivery.state.status(), delivery.kind), delivery.scheduled.0);
    }
    for letter in state.dead_letters() {
        for class in letter_classes(letter) {
            index.add(&class, letter.id.0);
        }
    }
    // Reading nothing can't fail.
    let index = index.rows(|_| Ok(None)).unwrap_or_default();
    let writes = jobs.chain(deliveries).chain(letters).chain(totals).chain(index);
    writes.filter_map(|write| Some((write.key, write.value?))).collect()
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

/// The row of a job that is written once, with its registration.
fn listed(job: &Job) -> RowWrite {
    put(list_key(job.registered), job.id.as_str().as_bytes().to_vec())
}

fn delivery_row(delivery: &Delivery) -> RowWrite {
    let key = if delivery.is_active() { queue_key(delivery.id) } else { delivery_key(delivery.id) };
    put(key, codec::encode(delivery))
}

/// The row of a delivery that is written once, when it is scheduled.
fn scheduled(delivery: &Delivery) -> RowWrite {
    put(scheduled_key(delivery.scheduled), delivery.id.0.to_be_bytes().to_vec())
}

pub(super) fn job_key(id: &JobId) -> Vec<u8> {
    [b"j", id.as_str().as_bytes()].concat()
}

pub(super) fn list_key(registered: Seq) -> Vec<u8> {
    [&b"l"[..], &registered.0.to_be_bytes()].concat()
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

pub(super) fn scheduled_key(at: Seq) -> Vec<u8> {
    [&b"v"[..], &at.0.to_be_bytes()].concat()
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
