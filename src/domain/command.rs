//! What is asked for, or has come to pass, before it is decided what that means.

use super::id::{DeadLetterId, DeliveryId, JobId, SecretId};
use super::job::{JobSpec, Report};
use super::outcome::Outcome;
use super::time::Timestamp;

/// Another secret for a job's webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Names it. Whoever asks leaves that to the engine, which alone knows what a secret is called in its store.
    pub secret: Option<SecretId>,
    /// Seconds for which what signed before signs as well, at most [`Rotation::LONGEST_OVERLAP`].
    pub overlap: u32,
}

impl Rotation {
    /// The overlap where none is asked for: a day, in seconds.
    pub const DEFAULT_OVERLAP: u32 = 24 * 3600;

    /// The longest overlap: a week, in seconds.
    pub const LONGEST_OVERLAP: u32 = 7 * 24 * 3600;
}

/// A request to the state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a command lives for one decision; registrations are every third of them"
)]
pub enum Command {
    /// Register a job.
    Register {
        /// Its id.
        id: JobId,
        /// What it is registered with.
        spec: JobSpec,
    },
    /// A worker reports.
    Report {
        /// The job.
        job: JobId,
        /// The version that the worker has seen, if it is to be held to that.
        if_match: Option<u64>,
        /// What it reports.
        report: Report,
        /// The webhook's new secret, if it gets one in the same step.
        rotation: Option<Rotation>,
    },
    /// Ask the job's worker to stop.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// The job's completion window has run out.
    Expire {
        /// The job.
        job: JobId,
    },
    /// The schedule has chosen the delivery for an attempt.
    StartAttempt {
        /// The delivery.
        delivery: DeliveryId,
    },
    /// An attempt has ended.
    RecordOutcome {
        /// The delivery.
        delivery: DeliveryId,
        /// Which attempt.
        attempt: u32,
        /// What it came to.
        outcome: Outcome,
    },
    /// An attempt was in flight when the process ended, or is when it is about to.
    RecordInterruption {
        /// The delivery.
        delivery: DeliveryId,
        /// Whether the process ended without warning.
        crashed: bool,
    },
    /// Try a dead letter once more.
    RetryDeadLetter {
        /// The dead letter.
        id: DeadLetterId,
        /// Also when a retry has succeeded already.
        force: bool,
    },
    /// Try many dead letters once more. Those that can't be, or need not be, are passed over.
    RetryDeadLetters {
        /// The dead letters.
        ids: Vec<DeadLetterId>,
        /// Also those of which a retry has succeeded already.
        force: bool,
    },
    /// Delete a dead letter.
    DeleteDeadLetter {
        /// The dead letter.
        id: DeadLetterId,
    },
    /// Delete many dead letters. Those that are gone already are passed over.
    DeleteDeadLetters {
        /// The dead letters.
        ids: Vec<DeadLetterId>,
    },
    /// Forget a job that is over.
    Prune {
        /// The job.
        job: JobId,
        /// Unless something happened to it after this time.
        before: Timestamp,
    },
    /// Forget the payloads of a job's deliveries.
    ErasePayloads {
        /// The job.
        job: JobId,
    },
    /// Send a delivery once more, whatever became of it.
    Resend {
        /// The delivery.
        delivery: DeliveryId,
        /// Also when the receiver has it.
        force: bool,
    },
}
