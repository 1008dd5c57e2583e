//! What happened. Events are facts in the past tense; they carry what was decided, so that replaying them decides nothing.
//!
//! They are stored: variants and fields are only ever appended (see the log's codec and its golden bytes).

use serde::{Deserialize, Serialize};

use super::delivery::AttemptEnd;
use super::id::{DeadLetterId, DeliveryId, JobId, SecretId, Seq};
use super::job::{JobSpec, Report};
use super::options::WebhookOptions;
use super::time::Timestamp;
use super::webhook::{Destination, EventKind};

/// One fact about one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "an event lives for one commit or one look")]
pub enum Event {
    /// A client registered the job.
    JobRegistered {
        /// What it was registered with.
        spec: JobSpec,
        /// When it becomes `expired` by itself.
        expires_at: Timestamp,
    },
    /// The job's status changed, and with it whatever else was reported.
    JobTransitioned {
        /// The news: its `status` is set.
        report: Report,
    },
    /// Something was reported without a change of status.
    ProgressReported {
        /// The news: its `status` is not set.
        report: Report,
    },
    /// A webhook is to be told. Its payload's bytes lie beside this event.
    DeliveryScheduled {
        /// The delivery.
        delivery: DeliveryId,
        /// Where it goes.
        destination: Destination,
        /// What it tells.
        kind: EventKind,
        /// The total number of attempts.
        max_attempts: u32,
        /// Seconds for a whole attempt.
        timeout: u32,
    },
    /// An attempt is being made. Recorded before it is, so that a crash can't hide it.
    AttemptStarted {
        /// The delivery.
        delivery: DeliveryId,
        /// 1 for the first.
        attempt: u32,
    },
    /// The receiver took it.
    AttemptSucceeded {
        /// The delivery.
        delivery: DeliveryId,
        /// Which attempt.
        attempt: u32,
        /// What was seen.
        end: AttemptEnd,
    },
    /// The receiver did not take it.
    AttemptFailed {
        /// The delivery.
        delivery: DeliveryId,
        /// Which attempt.
        attempt: u32,
        /// What was seen.
        end: AttemptEnd,
        /// When the next attempt may begin; `None` when there is none.
        retry_at: Option<Timestamp>,
    },
    /// The process ended during an attempt; nobody knows what became of it, and it is made again under the same number.
    AttemptInterrupted {
        /// The delivery.
        delivery: DeliveryId,
        /// Which attempt.
        attempt: u32,
        /// Whether the process ended without warning; an orderly end is no reason to doubt the attempt.
        crashed: bool,
    },
    /// No attempt is left: the delivery is a dead letter, or its dead letter's retry failed.
    DeliveryExhausted {
        /// The delivery.
        delivery: DeliveryId,
        /// Its dead letter: a new one the first time, the same one ever after.
        dead_letter: DeadLetterId,
    },
    /// A newer report took the delivery's place.
    DeliverySuperseded {
        /// The delivery.
        delivery: DeliveryId,
    },
    /// An operator asked for one more attempt.
    RedeliveryRequested {
        /// The delivery.
        delivery: DeliveryId,
        /// Whether it was asked for although the receiver may have it.
        forced: bool,
    },
    /// An operator deleted the dead letter; the delivery's history stays.
    DeadLetterDeleted {
        /// The delivery.
        delivery: DeliveryId,
        /// Its dead letter.
        dead_letter: DeadLetterId,
    },
    /// The job's webhook has options: right after its registration, where there are any.
    WebhookConfigured {
        /// All of them.
        options: WebhookOptions,
    },
    /// The job's webhook was given another secret.
    SecretRotated {
        /// Names the new one.
        secret: SecretId,
        /// Until when what signed before signs as well.
        former_until: Timestamp,
    },
    /// The job was over and its retention too: nothing is left of it but what the log has not given up yet. The last event
    /// of a job; its id may be registered again.
    JobPruned,
    /// Somebody asked that the payloads of the job's deliveries be forgotten. The history stays.
    PayloadsErased {
        /// Of so many deliveries, all that there were until now and whose payload was there still.
        deliveries: u32,
    },
}

impl Event {
    /// The event's name, as in the API's histories.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::JobRegistered { .. } => "job_registered",
            Self::JobTransitioned { .. } => "job_transitioned",
            Self::ProgressReported { .. } => "progress_reported",
            Self::DeliveryScheduled { .. } => "delivery_scheduled",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AttemptSucceeded { .. } => "attempt_succeeded",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::AttemptInterrupted { .. } => "attempt_interrupted",
            Self::DeliveryExhausted { .. } => "delivery_exhausted",
            Self::DeliverySuperseded { .. } => "delivery_superseded",
            Self::RedeliveryRequested { .. } => "redelivery_requested",
            Self::DeadLetterDeleted { .. } => "dead_letter_deleted",
            Self::WebhookConfigured { .. } => "webhook_configured",
            Self::SecretRotated { .. } => "secret_rotated",
            Self::JobPruned => "job_pruned",
            Self::PayloadsErased { .. } => "payloads_erased",
        }
    }

    /// The delivery of which an attempt, or which itself, came to an end here, if that is what it tells.
    #[must_use]
    pub const fn ends_attempt_of(&self) -> Option<DeliveryId> {
        match self {
            Self::AttemptSucceeded { delivery, .. }
            | Self::AttemptFailed { delivery, .. }
            | Self::DeliveryExhausted { delivery, .. } => Some(*delivery),
            _ => None,
        }
    }

    /// The delivery that it tells of, if any.
    #[must_use]
    pub const fn delivery(&self) -> Option<DeliveryId> {
        match self {
            Self::JobRegistered { .. }
            | Self::JobTransitioned { .. }
            | Self::ProgressReported { .. }
            | Self::WebhookConfigured { .. }
            | Self::SecretRotated { .. }
            | Self::JobPruned
            | Self::PayloadsErased { .. } => None,
            Self::DeliveryScheduled { delivery, .. }
            | Self::AttemptStarted { delivery, .. }
            | Self::AttemptSucceeded { delivery, .. }
            | Self::AttemptFailed { delivery, .. }
            | Self::AttemptInterrupted { delivery, .. }
            | Self::DeliveryExhausted { delivery, .. }
            | Self::DeliverySuperseded { delivery }
            | Self::RedeliveryRequested { delivery, .. }
            | Self::DeadLetterDeleted { delivery, .. } => Some(*delivery),
        }
    }
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Its position in the log.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Timestamp,
    /// The job that it tells of.
    pub job: JobId,
    /// The same job's previous event; [`Seq::ZERO`] for its first. A job's history is a walk back along these.
    pub prev: Seq,
    /// What happened.
    pub event: Event,
}
