//! What a decision needs, brought in from the rows: between steps, rows and state say the same.

use super::Engine;
use crate::domain::command::Command;
use crate::domain::delivery::Delivery;
use crate::domain::event::{Envelope, Event};
use crate::domain::id::{DeadLetterId, DeliveryId, JobId};
use crate::domain::state::State;
use crate::log::{LogError, LogReader};
use crate::views::Views;

impl Engine {
    /// Brings what the command is about to hand, where it exists.
    pub(super) fn bring(&mut self, command: &Command) -> Result<(), LogError> {
        match command {
            Command::Register { id: job, .. }
            | Command::Report { job, .. }
            | Command::Cancel { job }
            | Command::Expire { job } => bring_job(&mut self.state, &*self.reader, job),
            Command::Prune { job, .. } | Command::ErasePayloads { job } => {
                bring_whole(&mut self.state, &*self.reader, job)
            }
            Command::StartAttempt { delivery }
            | Command::RecordOutcome { delivery, .. }
            | Command::RecordInterruption { delivery, .. }
            | Command::Resend { delivery, .. } => bring_delivery(&mut self.state, &*self.reader, *delivery),
            Command::RetryDeadLetter { id, .. } | Command::DeleteDeadLetter { id } => {
                bring_dead_letter(&mut self.state, &*self.reader, *id)
            }
            Command::RetryDeadLetters { ids, .. } | Command::DeleteDeadLetters { ids } => {
                for id in ids {
                    // One that can't be read is passed over, and holds up no other.
                    if let Err(error) = bring_dead_letter(&mut self.state, &*self.reader, *id) {
                        tracing::error!(dead_letter_id = %id, %error, "a dead letter can't be read");
                    }
                }
                Ok(())
            }
        }
    }
}

/// Brings what an event is about to hand, where it exists already.
pub(super) fn bring_for(state: &mut State, reader: &dyn LogReader, envelope: &Envelope) -> Result<(), LogError> {
    if envelope.event == Event::JobPruned {
        return bring_whole(state, reader, &envelope.job);
    }
    bring_job(state, reader, &envelope.job)?;
    envelope.event.delivery().map_or(Ok(()), |delivery| bring_delivery(state, reader, delivery))
}

fn bring_job(state: &mut State, reader: &dyn LogReader, id: &JobId) -> Result<(), LogError> {
    if state.job(id).is_none() {
        match Views::new(reader).job(id)? {
            Some(job) => state.bring_job(job),
            None => return Ok(()),
        }
    }
    match state.job(id).and_then(|job| job.progress) {
        Some(progress) if state.delivery(progress).is_none() => {
            let delivery = Views::new(reader).delivery(progress)?;
            delivery.map_or(Ok(()), |delivery| adopt(state, reader, delivery))
        }
        _ => Ok(()),
    }
}

/// A job with everything that it has.
fn bring_whole(state: &mut State, reader: &dyn LogReader, id: &JobId) -> Result<(), LogError> {
    bring_job(state, reader, id)?;
    let newest = state.job(id).and_then(|job| job.latest.as_ref());
    let mut next = newest.map(|latest| latest.id);
    while let Some(id) = next {
        bring_delivery(state, reader, id)?;
        let missing = || LogError::corrupt(format!("the row of delivery {id}"), "it is missing");
        next = state.delivery(id).ok_or_else(missing)?.previous;
    }
    Ok(())
}

/// A delivery never comes without its job.
fn bring_delivery(state: &mut State, reader: &dyn LogReader, id: DeliveryId) -> Result<(), LogError> {
    let known = state.delivery(id).map(|delivery| delivery.job.clone());
    let job = match known {
        Some(job) => job,
        None => {
            let Some(delivery) = Views::new(reader).delivery(id)? else { return Ok(()) };
            let job = delivery.job.clone();
            adopt(state, reader, delivery)?;
            job
        }
    };
    bring_job(state, reader, &job)?;
    match state.job(&job) {
        Some(_) => Ok(()),
        None => Err(LogError::corrupt(format!("the row of batch '{job}'"), "it is missing")),
    }
}

/// A delivery never comes without its dead letter.
fn adopt(state: &mut State, reader: &dyn LogReader, delivery: Delivery) -> Result<(), LogError> {
    let absent = delivery.dead_letter.filter(|&letter| state.dead_letter(letter).is_none());
    let letter = absent.map(|letter| Views::new(reader).dead_letter(letter)).transpose()?;
    if let Some(letter) = letter.flatten() {
        state.bring_dead_letter(letter);
    }
    state.bring_delivery(delivery);
    Ok(())
}

fn bring_dead_letter(state: &mut State, reader: &dyn LogReader, id: DeadLetterId) -> Result<(), LogError> {
    let known = state.dead_letter(id).map(|letter| letter.delivery);
    let delivery = match known {
        Some(delivery) => Some(delivery),
        None => Views::new(reader).dead_letter(id)?.map(|letter| letter.delivery),
    };
    delivery.map_or(Ok(()), |delivery| bring_delivery(state, reader, delivery))
}
