//! Who is told what came of a command, and when.

use super::exchange::{Answer, Asked, EngineError, Keep, Retried, Ticket, When};
use super::{Engine, journal};
use crate::domain::command::Command;
use crate::domain::event::Event;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

/// Whoever waits for the end of an attempt.
pub(super) struct Waiting {
    ticket: Ticket,
    retried: Retried,
    keep: Option<Keep>,
    /// When it was asked for.
    since: Timestamp,
}

impl Engine {
    /// Tells whoever asked. What nobody asked for is the engine's own, and should not have been refused.
    pub(super) fn refuse(
        &mut self,
        command: &Command,
        asked: Option<Asked>,
        rejection: Rejection,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        if let Some(Asked { ticket, keep, .. }) = asked {
            return self.reply(ticket, Err(rejection), keep.as_ref(), now);
        }
        let (asked_for, delivery) = journal::of_its_own(command);
        let delivery_id = delivery.map(tracing::field::display);
        tracing::error!(asked_for, delivery_id, error = %rejection, "a command of the engine's own was refused");
        let is_unreadable = matches!(rejection, Rejection::Unreadable { .. });
        match command {
            Command::StartAttempt { delivery } => self.schedule.remove(*delivery),
            // Its slot is free, and whoever waits for it waits in vain.
            Command::RecordOutcome { delivery, .. } if is_unreadable => {
                self.schedule.remove(*delivery);
                for Waiting { ticket, keep, since, .. } in self.waiting.remove(delivery).unwrap_or_default() {
                    self.reply(ticket, Err(rejection.clone()), keep.as_ref(), since)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Drafts the replies that a command makes due: its own, and of whoever waits for the attempt that it ends.
    /// `recorded` is how many events it came to.
    pub(super) fn answer(
        &mut self,
        command: &Command,
        recorded: usize,
        asked: Option<Asked>,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        if let Command::RecordOutcome { delivery, .. } = command {
            let end = self.state.delivery(*delivery).and_then(|delivery| delivery.attempts.last()?.end.as_ref());
            let success = end.map(|end| end.error.is_none());
            for Waiting { ticket, retried, keep, since } in self.waiting.remove(delivery).unwrap_or_default() {
                let retried = Retried { success, retried_at: Some(now), ..retried };
                self.reply(ticket, Ok(Answer::Retried(retried)), keep.as_ref(), since)?;
            }
        }
        let Some(Asked { ticket, when, keep }) = asked else { return Ok(()) };
        let answer = match command {
            Command::Register { id: job, .. } | Command::Report { job, .. } | Command::Cancel { job } => {
                self.state.job(job).map(|job| Answer::Job(Box::new(job.clone())))
            }
            Command::RetryDeadLetter { id, force } => self.state.dead_letter(*id).map(|letter| {
                let job = letter.job.clone();
                Answer::Retried(Retried { id: *id, job, success: None, retried_at: None, forced: *force })
            }),
            Command::RetryDeadLetters { .. } | Command::DeleteDeadLetters { .. } => Some(Answer::Many(recorded)),
            Command::ErasePayloads { .. } => Some(Answer::Many(self.erased(recorded))),
            _ => None,
        };
        match (answer, when, command) {
            (Some(Answer::Retried(retried)), When::Attempted, Command::RetryDeadLetter { id, .. }) => {
                let Some(delivery) = self.state.dead_letter(*id).map(|letter| letter.delivery) else { return Ok(()) };
                // Should the process end before the attempt does, what is known now is the answer.
                self.keep(keep.as_ref(), &Ok(Answer::Retried(retried.clone())), now)?;
                self.waiting.entry(delivery).or_default().push(Waiting { ticket, retried, keep, since: now });
                Ok(())
            }
            (answer, ..) => self.reply(ticket, Ok(answer.unwrap_or(Answer::Done)), keep.as_ref(), now),
        }
    }

    /// Of how many deliveries the payload was erased by the command that came to the last so many events.
    fn erased(&self, recorded: usize) -> usize {
        let newest = self.draft.events.iter().rev().take(recorded);
        let erased = newest
            .map(|envelope| if let Event::PayloadsErased { deliveries } = envelope.event { deliveries } else { 0 });
        erased.map(|deliveries| usize::try_from(deliveries).unwrap_or(usize::MAX)).sum()
    }

    fn reply(
        &mut self,
        ticket: Ticket,
        reply: Result<Answer, Rejection>,
        keep: Option<&Keep>,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        self.keep(keep, &reply, at)?;
        self.draft.replies.push((ticket, reply));
        Ok(())
    }
}
