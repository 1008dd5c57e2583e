//! The views again, from the log alone: what they should be, and whether the stored ones are that.

use std::collections::BTreeSet;

use super::EngineError;
use crate::domain::evolve;
use crate::domain::id::Seq;
use crate::domain::state::{Policy, State};
use crate::log::{LogError, LogReader, Order};
use crate::views;

/// How many events or rows are read at a time.
const CHUNK: usize = 4096;

/// Moves `state`, which stands at position `after`, by the events up to `until`. Gives the position that it then stands at.
///
/// # Errors
/// When an event can't be read, or does not follow from those before it.
pub fn advance(state: &mut State, reader: &dyn LogReader, after: Seq, until: Seq) -> Result<Seq, EngineError> {
    let mut at = after;
    while at < until {
        let left = usize::try_from(until.0 - at.0).unwrap_or(CHUNK);
        let events = reader.events(at, left.min(CHUNK))?;
        let Some(last) = events.last().map(|event| event.seq) else { break };
        for event in &events {
            evolve(state, event)?;
        }
        state.take_touched();
        at = last;
    }
    Ok(at)
}

/// The state that the events up to `until` lead to.
///
/// # Errors
/// When an event can't be read, or does not follow from those before it.
pub fn rebuild(reader: &dyn LogReader, until: Seq) -> Result<State, EngineError> {
    let mut state = State::new(Policy::default());
    advance(&mut state, reader, Seq::ZERO, until)?;
    Ok(state)
}

/// The keys of the rows in which `state`, rebuilt up to the log's end, and the stored views differ; none when all is well.
///
/// # Errors
/// When a row can't be read.
pub fn differences(state: &State, reader: &dyn LogReader) -> Result<BTreeSet<Vec<u8>>, LogError> {
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
