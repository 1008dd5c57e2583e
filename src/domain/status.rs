//! The status machine of a job.
//!
//! ```text
//! validating ──▶ in_progress ──▶ finalizing ──▶ completed      forward jumps allowed
//!      └──────────────┴──────────────┴──▶ cancelling ──▶ cancelled
//!      any that is not terminal ──▶ failed, expired, cancelled
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rejection::Invalid;
use super::webhook::EventKind;

/// Where a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Registered.
    #[default]
    Validating,
    /// Being worked on.
    InProgress,
    /// Its results are being written.
    Finalizing,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Its completion window ran out.
    Expired,
    /// Asked to stop.
    Cancelling,
    /// Stopped.
    Cancelled,
}

impl Status {
    /// Every status, in the order in which messages list them.
    pub const ALL: [Self; 8] = [
        Self::Validating,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Failed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// The name in the batch object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads `status`.
    ///
    /// # Errors
    /// Names the valid ones.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or_else(|| {
            let valid = Self::ALL.map(Self::as_str).join(", ");
            Invalid::new("status", "invalid_status", format!("Invalid status. Valid statuses: {valid}"))
        })
    }

    /// Whether it never changes any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired | Self::Cancelled)
    }

    /// Whether a job may go from here to `to`; see the diagram of this module.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use Status::{Cancelled, Cancelling, Completed, Expired, Failed, Finalizing, InProgress, Validating};
        match (self, to) {
            (Completed | Failed | Expired | Cancelled, _) | (_, Validating) => false,
            (Validating, InProgress | Finalizing | Completed)
            | (InProgress, Finalizing | Completed)
            | (Finalizing, Completed) => true,
            (InProgress | Finalizing | Cancelling, InProgress | Finalizing | Completed) => false,
            (from, Cancelling) => !matches!(from, Cancelling),
            (_, Failed | Expired | Cancelled) => true,
        }
    }

    /// What a webhook is told when a job gets here; `None` for `validating` and `cancelling`.
    #[must_use]
    pub const fn event_kind(self) -> Option<EventKind> {
        match self {
            Self::Validating | Self::Cancelling => None,
            Self::InProgress | Self::Finalizing => Some(EventKind::Progress),
            Self::Completed => Some(EventKind::Completed),
            Self::Failed => Some(EventKind::Failed),
            Self::Expired => Some(EventKind::Expired),
            Self::Cancelled => Some(EventKind::Cancelled),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_machine_is_the_diagram() {
        use Status::*;
        let legal = |from: Status| Status::ALL.into_iter().filter(|&to| from.may_become(to)).collect::<Vec<_>>();
        assert_eq!(legal(Validating), [InProgress, Finalizing, Completed, Failed, Expired, Cancelling, Cancelled]);
        assert_eq!(legal(InProgress), [Finalizing, Completed, Failed, Expired, Cancelling, Cancelled]);
        assert_eq!(legal(Finalizing), [Completed, Failed, Expired, Cancelling, Cancelled]);
        assert_eq!(legal(Cancelling), [Failed, Expired, Cancelled]);
        for terminal in [Completed, Failed, Expired, Cancelled] {
            assert_eq!(legal(terminal), []);
        }
    }
}
