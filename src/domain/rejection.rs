//! Why a command was not accepted, in words for whoever sent it.

use std::fmt;

/// A field that is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field, as a path: `webhook.events`.
    pub param: &'static str,
    /// Stable and machine-readable: `invalid_event`.
    pub code: &'static str,
    /// What was wrong and what is allowed.
    pub message: String,
}

impl Invalid {
    /// Says what is wrong with `param`.
    #[must_use]
    pub fn new(param: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { param, code, message: message.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}

/// Why a command was not accepted. Nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no such job, delivery or dead letter.
    NotFound {
        /// What was looked for: `batch`, `dead letter`, `delivery`.
        what: &'static str,
        /// Its id as given.
        id: String,
    },
    /// A field is out of its bounds.
    Invalid(Invalid),
    /// The job's state does not allow it, or the id is taken by another job.
    Conflict {
        /// Stable and machine-readable: `illegal_transition`, `id_taken`, `attempt_in_flight`.
        code: &'static str,
        /// What stands in the way.
        message: String,
    },
    /// `If-Match` named a version that is no longer the job's.
    Stale {
        /// The job's version now.
        version: u64,
    },
    /// The dead letter was already successfully retried, and the retry was not forced.
    AlreadyRetried,
    /// The receiver has the delivery, and sending it again was not forced.
    AlreadyDelivered,
    /// What is stored about it can't be read. Everything else goes on.
    Unreadable {
        /// What is damaged, for the log.
        why: String,
    },
    /// An outcome of an attempt that is not in flight; it is dropped, for what it tells is recorded already or was repeated.
    NotInFlight,
}

impl Rejection {
    /// There is no such thing.
    #[must_use]
    pub fn not_found(what: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { what, id } => write!(f, "No {what} with id '{id}'."),
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Conflict { message, .. } => f.write_str(message),
            Self::Stale { version } => {
                write!(f, "The batch has changed: its version is {version}. Read it again and repeat the change.")
            }
            Self::AlreadyRetried => {
                f.write_str("Webhook already successfully retried. Use force=true to retry anyway.")
            }
            Self::AlreadyDelivered => f.write_str("The receiver has it already. Use force=true to send it again."),
            Self::Unreadable { why } => write!(f, "What is stored about it can't be read: {why}"),
            Self::NotInFlight => f.write_str("No attempt with that number is in flight."),
        }
    }
}

impl std::error::Error for Rejection {}

impl From<Invalid> for Rejection {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}
