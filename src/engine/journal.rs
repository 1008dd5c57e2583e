//! What operators are told of a step, once it is durable: one line for each event, under the ids that the API has for it.
//!
//! What somebody may have to act on is a warning or information; what goes its usual way, failed attempts among it, is for
//! whoever looks into one delivery. No line has a secret, a payload or more of a URL than its destination.

use super::{Draft, Engine};
use crate::domain::command::Command;
use crate::domain::event::{Envelope, Event};
use crate::domain::id::DeliveryId;
use crate::domain::webhook::authority;
use crate::schedule::Turn;

impl Engine {
    pub(super) fn tell(&self, draft: &Draft) {
        for envelope in &draft.events {
            self.tell_of_job(envelope);
            self.tell_of_delivery(envelope);
        }
        for (delivery, turn) in &draft.turns {
            let destination = self.destination(*delivery);
            match turn {
                Turn::Paused { failures, until } => {
                    tracing::warn!(destination, failures, %until, "a destination fails, and is paused");
                }
                Turn::Resumed => tracing::info!(destination, "a destination answers again"),
            }
        }
    }

    fn tell_of_job(&self, Envelope { seq, job: batch_id, event, .. }: &Envelope) {
        let seq = seq.0;
        let status = || self.state.job(batch_id).map(|job| job.status.as_str());
        match event {
            Event::JobRegistered { .. } => tracing::debug!(%batch_id, seq, "a job was registered"),
            Event::JobTransitioned { .. } => {
                tracing::debug!(%batch_id, seq, status = status(), "a job's status has changed");
            }
            Event::ProgressReported { .. } => tracing::debug!(%batch_id, seq, "a job's progress was reported"),
            Event::WebhookConfigured { .. } => tracing::debug!(%batch_id, seq, "a webhook has options"),
            Event::SecretRotated { former_until, .. } => {
                tracing::info!(%batch_id, seq, %former_until, "a webhook has another secret");
            }
            _ => {}
        }
    }

    fn tell_of_delivery(&self, Envelope { seq, job: batch_id, event, .. }: &Envelope) {
        let Some(delivery_id) = event.delivery() else { return };
        let seq = seq.0;
        let letter = || self.state.delivery(delivery_id).and_then(|delivery| delivery.dead_letter);
        match event {
            Event::DeliveryScheduled { kind, .. } => {
                let (event, destination) = (kind.as_str(), self.destination(delivery_id));
                tracing::debug!(%batch_id, %delivery_id, seq, event, destination, "a delivery was decided on");
            }
            Event::AttemptStarted { attempt, .. } => {
                tracing::debug!(%batch_id, %delivery_id, seq, attempt, "an attempt has begun");
            }
            Event::AttemptSucceeded { attempt, end, .. } => {
                let (status_code, duration_ms) = (end.status_code, end.duration_ms);
                tracing::debug!(%batch_id, %delivery_id, seq, attempt, status_code, duration_ms, "an attempt has succeeded");
                if let Some(letter) = letter() {
                    tracing::info!(%batch_id, %delivery_id, seq, dead_letter_id = letter.0, "a dead letter was delivered");
                }
            }
            Event::AttemptFailed { attempt, end, retry_at, .. } => {
                let (error, duration_ms) = (end.error.as_deref(), end.duration_ms);
                let retry_at = retry_at.map(tracing::field::display);
                tracing::debug!(%batch_id, %delivery_id, seq, attempt, error, duration_ms, retry_at, "an attempt has failed");
            }
            Event::AttemptInterrupted { attempt, .. } => {
                tracing::debug!(%batch_id, %delivery_id, seq, attempt, "an attempt was interrupted, and is made again");
            }
            Event::DeliveryExhausted { dead_letter, .. } => {
                self.tell_of_end(seq, batch_id.as_str(), delivery_id, dead_letter.0);
            }
            Event::DeliverySuperseded { .. } => {
                tracing::debug!(%batch_id, %delivery_id, seq, "a delivery was superseded by newer news");
            }
            Event::RedeliveryRequested { forced, .. } => {
                tracing::info!(%batch_id, %delivery_id, seq, forced, "a delivery is to be sent once more");
            }
            Event::DeadLetterDeleted { dead_letter, .. } => {
                tracing::info!(%batch_id, %delivery_id, seq, dead_letter_id = dead_letter.0, "a dead letter was deleted");
            }
            _ => {}
        }
    }

    fn tell_of_end(&self, seq: u64, batch_id: &str, delivery_id: DeliveryId, dead_letter_id: u64) {
        let delivery = self.state.delivery(delivery_id);
        let last = delivery.and_then(|delivery| delivery.attempts.last());
        let error = last.and_then(|attempt| attempt.end.as_ref()?.error.as_deref());
        let attempts = last.map(|attempt| attempt.number);
        let destination = self.destination(delivery_id);
        tracing::warn!(
            batch_id,
            %delivery_id,
            seq,
            dead_letter_id,
            attempts,
            error,
            destination,
            "a delivery was given up: it is a dead letter"
        );
    }

    /// Scheme, host and port of where a delivery goes: the rest of its URL may hold what is nobody's business.
    fn destination(&self, delivery: DeliveryId) -> Option<String> {
        self.state.delivery(delivery).map(|delivery| authority(&delivery.url))
    }
}

/// What a command of the engine's own asks for, and of which delivery.
pub(super) const fn of_its_own(command: &Command) -> (&'static str, Option<DeliveryId>) {
    match command {
        Command::StartAttempt { delivery } => ("an attempt", Some(*delivery)),
        Command::RecordOutcome { delivery, .. } => ("an attempt's outcome", Some(*delivery)),
        Command::RecordInterruption { delivery, .. } => ("an attempt's interruption", Some(*delivery)),
        Command::Expire { .. } => ("a job's expiry", None),
        _ => ("something else", None),
    }
}
