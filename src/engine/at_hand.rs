//! What a decision needs, brought in from the rows: between steps, rows and state say the same.

use super::Engine;
use crate::domain::command::Command;
use crate::domain::delivery::Delivery;
use crate::domain::id::{DeadLetterId, DeliveryId, JobId};
use crate::log::LogError;
use crate::views::Views;

impl Engine {
    /// Brings what the command is about to hand, where it exists.
    pub(super) fn bring(&mut self, command: &Command) -> Result<(), LogError> {
        match command {
            Command::Register { id: job, .. }
            | Command::Report { job, .. }
            | Command::Cancel { job }
            | Command::Expire { job } => self.bring_job(job),
            Command::StartAttempt { delivery }
            | Command::RecordOutcome { delivery, .. }
            | Command::RecordInterruption { delivery, .. }
            | Command::Resend { delivery, .. } => self.bring_delivery(*delivery),
            Command::RetryDeadLetter { id, .. } | Command::DeleteDeadLetter { id } => self.bring_dead_letter(*id),
            Command::RetryDeadLetters { ids, .. } | Command::DeleteDeadLetters { ids } => {
                for id in ids {
                    // One that can't be read is passed over, and holds up no other.
                    if let Err(error) = self.bring_dead_letter(*id) {
                        tracing::error!(dead_letter = %id, %error, "a dead letter can't be read");
                    }
                }
                Ok(())
            }
        }
    }

    fn bring_job(&mut self, id: &JobId) -> Result<(), LogError> {
        if self.state.job(id).is_none() {
            match Views::new(&*self.reader).job(id)? {
                Some(job) => self.state.bring_job(job),
                None => return Ok(()),
            }
        }
        match self.state.job(id).and_then(|job| job.progress) {
            Some(progress) if self.state.delivery(progress).is_none() => {
                let delivery = Views::new(&*self.reader).delivery(progress)?;
                delivery.map_or(Ok(()), |delivery| self.adopt(delivery))
            }
            _ => Ok(()),
        }
    }

    /// A delivery never comes without its job.
    fn bring_delivery(&mut self, id: DeliveryId) -> Result<(), LogError> {
        let known = self.state.delivery(id).map(|delivery| delivery.job.clone());
        let job = match known {
            Some(job) => job,
            None => {
                let Some(delivery) = Views::new(&*self.reader).delivery(id)? else { return Ok(()) };
                let job = delivery.job.clone();
                self.adopt(delivery)?;
                job
            }
        };
        self.bring_job(&job)?;
        match self.state.job(&job) {
            Some(_) => Ok(()),
            None => Err(LogError::corrupt(format!("the row of batch '{job}'"), "it is missing")),
        }
    }

    /// A delivery never comes without its dead letter.
    fn adopt(&mut self, delivery: Delivery) -> Result<(), LogError> {
        let absent = delivery.dead_letter.filter(|&letter| self.state.dead_letter(letter).is_none());
        let letter = absent.map(|letter| Views::new(&*self.reader).dead_letter(letter)).transpose()?;
        if let Some(letter) = letter.flatten() {
            self.state.bring_dead_letter(letter);
        }
        self.state.bring_delivery(delivery);
        Ok(())
    }

    fn bring_dead_letter(&mut self, id: DeadLetterId) -> Result<(), LogError> {
        let known = self.state.dead_letter(id).map(|letter| letter.delivery);
        let delivery = match known {
            Some(delivery) => Some(delivery),
            None => Views::new(&*self.reader).dead_letter(id)?.map(|letter| letter.delivery),
        };
        delivery.map_or(Ok(()), |delivery| self.bring_delivery(delivery))
    }
}
