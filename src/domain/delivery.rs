//! The delivery and the dead letter: two state machines that only [`evolve`](super::evolve) moves.
//!
//! ```text
//!            ┌──── AttemptFailed { retry_at } ─────┐
//!            ▼                                     │
//! Pending ── AttemptStarted ──▶ InFlight ──────────┼── AttemptSucceeded ──▶ Delivered
//!    ▲  │                          │               └── DeliveryExhausted ─▶ Dead
//!    │  │                          └── AttemptInterrupted ─────────────▶ Pending, the same attempt again
//!    │  └─ DeliverySuperseded ──▶ Superseded
//!    └──── RedeliveryRequested ── Dead, Delivered (forced)
//! ```

use serde::{Deserialize, Serialize};

use super::id::{DeadLetterId, DeliveryId, JobId, Seq};
use super::time::Timestamp;
use super::webhook::{Destination, EventKind};

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// Waits for its next attempt.
    Pending {
        /// When that may begin.
        due: Timestamp,
    },
    /// An attempt is being made.
    InFlight,
    /// The receiver has it.
    Delivered,
    /// Given up; its dead letter says more.
    Dead,
    /// A newer report took its place before it was delivered.
    Superseded,
}

impl DeliveryState {
    /// The state without its details.
    #[must_use]
    pub const fn status(self) -> DeliveryStatus {
        match self {
            Self::Pending { .. } => DeliveryStatus::Pending,
            Self::InFlight => DeliveryStatus::InFlight,
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Dead => DeliveryStatus::Dead,
            Self::Superseded => DeliveryStatus::Superseded,
        }
    }
}

/// A delivery's state without its details: what lists are filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryStatus {
    /// Waits for its next attempt.
    Pending,
    /// An attempt is being made.
    InFlight,
    /// The receiver has it.
    Delivered,
    /// Given up; its dead letter says more.
    Dead,
    /// A newer report took its place before it was delivered.
    Superseded,
}

impl DeliveryStatus {
    /// Every status, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::InFlight, Self::Delivered, Self::Dead, Self::Superseded];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether an attempt is being made or will be.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::InFlight)
    }
}

/// One attempt, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How often a crash interrupted it; it was then made again under the same number. An orderly end of the process
    /// does the same, and is not counted.
    pub interruptions: u32,
    /// How it ended; `None` while it is being made.
    pub end: Option<AttemptEnd>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Milliseconds from start to end.
    pub duration_ms: u32,
    /// The HTTP status code, where there was an answer.
    pub status_code: Option<u16>,
    /// The failure text; `None` when it succeeded.
    pub error: Option<String>,
    /// The beginning of the response body.
    pub excerpt: Option<String>,
}

/// How many of a delivery's attempts its row keeps: the first of them are in the log, and a forced retry may be repeated for ever.
pub const ATTEMPTS_KEPT: usize = 20;

/// A webhook call that was decided on, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its identifier, the receiver's idempotency key.
    pub id: DeliveryId,
    /// The job that it tells of.
    pub job: JobId,
    /// Where it goes.
    pub destination: Destination,
    /// What it tells.
    pub kind: EventKind,
    /// Where it goes, as a URL.
    pub url: String,
    /// When it was decided on.
    pub created_at: Timestamp,
    /// The position at which it was decided on: what lists are ordered by.
    pub scheduled: Seq,
    /// The number of the last attempt that may be made; a retry of the dead letter raises it by one.
    pub max_attempts: u32,
    /// Seconds for a whole attempt.
    pub timeout: u32,
    /// Attempts in a second at most to its destination, where its webhook says so.
    pub rate_limit: Option<u32>,
    /// How it stands.
    pub state: DeliveryState,
    /// The newest [`ATTEMPTS_KEPT`] attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When the receiver first took it. Once set, another attempt has to be forced.
    pub delivered_at: Option<Timestamp>,
    /// The number of its dead letter, from when it was first given up; the dead letter itself may have been deleted.
    pub dead_letter: Option<DeadLetterId>,
    /// The job's delivery before it.
    pub previous: Option<DeliveryId>,
}

impl Delivery {
    /// The number of the newest attempt; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempts.last().map_or(0, |attempt| attempt.number)
    }

    /// The number that the next attempt gets: that of the newest, if it was interrupted.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        match self.attempts.last() {
            None => 1,
            Some(attempt) => attempt.number + u32::from(attempt.end.is_some()),
        }
    }

    /// Whether the receiver has it, and it was never given up before: a redelivery that fails makes no dead letter of it.
    #[must_use]
    pub const fn was_never_given_up(&self) -> bool {
        self.delivered_at.is_some() && self.dead_letter.is_none()
    }

    /// Whether newer news of its job may take its place: nobody has it, and nobody asked for it by hand.
    #[must_use]
    pub const fn may_be_superseded(&self) -> bool {
        self.delivered_at.is_none() && self.dead_letter.is_none()
    }

    /// Whether one more attempt may be asked for: what the receiver has, only with `force`.
    #[must_use]
    pub const fn may_be_redelivered(&self, force: bool) -> bool {
        !self.is_active() && (force || self.delivered_at.is_none())
    }

    /// Whether an attempt is being made or will be.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.state.status().is_active()
    }
}

/// A delivery that was given up, and what became of it since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number.
    pub id: DeadLetterId,
    /// The delivery.
    pub delivery: DeliveryId,
    /// The job that it tells of.
    pub job: JobId,
    /// Where it was to go.
    pub url: String,
    /// What it was to tell.
    pub kind: EventKind,
    /// The text of its newest failure.
    pub error: String,
    /// The number of attempts made.
    pub attempts: u32,
    /// When the newest of them began.
    pub last_attempt_at: Timestamp,
    /// When it was given up.
    pub created_at: Timestamp,
    /// When its newest retry ended.
    pub retried_at: Option<Timestamp>,
    /// Whether any retry succeeded; `None` before the first has ended.
    pub retry_success: Option<bool>,
}

impl DeadLetter {
    /// Whether a retry has succeeded: the receiver has it after all.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.retry_success == Some(true)
    }
}
