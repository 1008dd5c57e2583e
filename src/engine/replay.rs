//! The views again, from the log alone: what they should be, and whether the stored ones are that.

use std::collections::BTreeSet;

use super::EngineError;
use crate::domain::event::Envelope;
use crate::domain::evolve;
use crate::domain::id::Seq;
use crate::domain::state::State;
use crate::log::codec::{self, CARRIED};
use crate::log::{Anchor, LogError, LogReader, Order};
use crate::views;

/// How many events or rows are read at a time.
const CHUNK: usize = 4096;

/// What a log has to tell, in the order in which it is to be replayed: what was carried over the horizon, one job after
/// another, and then what comes after that.
pub(super) struct Told<'a> {
    reader: &'a dyn LogReader,
    /// The stored key of the carried event that came last; `None` when there are no more.
    carried: Option<Vec<u8>>,
    at: Seq,
    until: Seq,
}

impl<'a> Told<'a> {
    /// What there is up to position `until`, and the state before all of it.
    pub(super) fn new(reader: &'a dyn LogReader, until: Seq) -> Result<(Self, State), LogError> {
        let Anchor { horizon, base, .. } = reader.anchor()?;
        if until < horizon {
            return Err(LogError::Pruned { horizon });
        }
        Ok((Self { reader, carried: Some(Vec::new()), at: horizon, until }, State::after(horizon, base)))
    }

    /// Up to `limit` further events; none at the end.
    pub(super) fn next(&mut self, limit: usize) -> Result<Vec<Envelope>, LogError> {
        if let Some(after) = self.carried.take() {
            let records = self.reader.records(CARRIED, Some(&after), limit)?;
            self.carried = records.last().map(|(key, _)| key.clone());
            if !records.is_empty() {
                return records.iter().map(|(key, sealed)| codec::open_carried(key, sealed)).collect();
            }
        }
        let left = usize::try_from(self.until.0.saturating_sub(self.at.0)).unwrap_or(limit);
        if left == 0 {
            return Ok(Vec::new());
        }
        let events = self.reader.events(self.at, left.min(limit))?;
        self.at = events.last().map_or(self.at, |event| event.seq);
        Ok(events)
    }

    /// Moves `state` by all that comes yet.
    fn tell(&mut self, state: &mut State) -> Result<(), EngineError> {
        loop {
            let events = self.next(CHUNK)?;
            if events.is_empty() {
                return Ok(());
            }
            for event in &events {
                evolve(state, event)?;
            }
            state.take_touched();
        }
    }
}

/// Moves `state`, which stands at position `after`, by the events up to `until`. Gives the position that it then stands at.
///
/// # Errors
/// When an event can't be read, or does not follow from those before it; [`LogError::Pruned`] when some of them were given
/// up.
pub fn advance(state: &mut State, reader: &dyn LogReader, after: Seq, until: Seq) -> Result<Seq, EngineError> {
    let mut told = Told { reader, carried: None, at: after, until };
    told.tell(state)?;
    Ok(told.at)
}

/// The state that the events up to `until` lead to. What was pruned since is not in it, where its beginning was given up.
///
/// # Errors
/// As [`advance`]; [`LogError::Pruned`] when the log begins after `until`.
pub fn rebuild(reader: &dyn LogReader, until: Seq) -> Result<State, EngineError> {
    let (mut told, mut state) = Told::new(reader, until)?;
    told.tell(&mut state)?;
    Ok(state)
}

/// That nothing is lost of what `state`, rebuilt up to the log's end, was told: each job's events begin with its
/// registration, or end with its pruning.
///
/// # Errors
/// [`LogError::Corrupt`] names a job of which that is not so.
pub fn check_whole(state: &State) -> Result<(), LogError> {
    let lost = |job| LogError::corrupt(format!("the beginning of batch '{job}'"), "it is missing");
    state.incomplete().map_or(Ok(()), |job| Err(lost(job)))
}

/// The keys of the rows in which `state`, rebuilt up to the log's end, and the stored views differ; none when all is well.
///
/// # Errors
/// When a row can't be read, or something is [lost](check_whole) that rows are derived from.
pub fn differences(state: &State, reader: &dyn LogReader) -> Result<BTreeSet<Vec<u8>>, LogError> {
    check_whole(state)?;
    let mut missing = views::all_rows(state);
    let mut different = BTreeSet::new();
    each_stored(reader, |key, value| {
        if missing.remove(&key).as_ref() != Some(&value) {
            different.insert(key);
        }
    })?;
    different.extend(missing.into_keys());
    Ok(different)
}

/// Shows every stored row that is derived from events to `see`.
fn each_stored(reader: &dyn LogReader, mut see: impl FnMut(Vec<u8>, Vec<u8>)) -> Result<(), LogError> {
    for prefix in views::DERIVED {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = reader.rows(prefix, Order::Ascending, after.as_deref(), CHUNK)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (key, value) in rows {
                see(key, value);
            }
        }
    }
    Ok(())
}
