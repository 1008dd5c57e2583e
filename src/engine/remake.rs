//! The views made anew from the log, where they have another version's form. What is derived may change its form; the log
//! never does.
//!
//! It goes as the engine lives: some events at a time, with what they are about at hand and no more, so that it takes time
//! in the length of the history, and not memory.

use super::replay::{self, Told};
use super::{AT_HAND, EngineError, at_hand};
use crate::domain::evolve;
use crate::domain::id::Seq;
use crate::log::{Commit, EventLog, LogError, RowWrite};
use crate::views::{self, Views};

/// Events, or rows that are taken away, in one commit.
const CHUNK: usize = 1024;

/// Makes every row anew, if they are not of this version.
///
/// # Errors
/// When the log can't be read or written, or an event does not follow from those before it.
pub(super) fn make_rows_current(log: &mut dyn EventLog) -> Result<(), EngineError> {
    let (reader, tail) = (log.reader(), log.tail());
    if Views::new(&*reader).are_current()? {
        return Ok(());
    }
    if tail > Seq::ZERO {
        tracing::info!(events = tail.0, "making the views anew, in the form of this version");
        clear(log)?;
        fill(log)?;
        tracing::info!("the views are made");
    }
    // The last: until it is there, the next opening begins again.
    log.commit(&Commit::new(tail, &[], &[views::version_row()]))?;
    Ok(())
}

/// Takes all rows away, and before them the word that they are of some version: another program that opens a store in this
/// state must not trust what is left.
fn clear(log: &mut dyn EventLog) -> Result<(), LogError> {
    let (reader, tail) = (log.reader(), log.tail());
    log.commit(&Commit::new(tail, &[], &[views::no_version_row()]))?;
    for prefix in views::DERIVED {
        loop {
            let keys = reader.keys(prefix, CHUNK)?;
            if keys.is_empty() {
                break;
            }
            let gone: Vec<_> = keys.into_iter().map(|key| RowWrite { key, value: None }).collect();
            log.commit(&Commit::new(tail, &[], &gone))?;
        }
    }
    Ok(())
}

fn fill(log: &mut dyn EventLog) -> Result<(), EngineError> {
    let (reader, tail) = (log.reader(), log.tail());
    let (mut told, mut state) = Told::new(&*reader, tail)?;
    loop {
        let events = told.next(CHUNK)?;
        for envelope in &events {
            at_hand::bring_for(&mut state, &*reader, envelope)?;
            evolve(&mut state, envelope)?;
        }
        let rows = views::changes(&mut state, |key| reader.row(key))?;
        log.commit(&Commit::new(tail, &[], &rows))?;
        if events.is_empty() {
            return replay::check_whole(&state).map_err(EngineError::from);
        }
        if state.len() > AT_HAND {
            state.let_go();
        }
    }
}
