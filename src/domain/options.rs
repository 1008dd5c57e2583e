//! What a webhook can be configured with besides what its [`Webhook`](super::webhook::Webhook) says.
//!
//! It is recorded in an event of its own, beside the registration: the bytes of a registration are public and never change.

use serde::{Deserialize, Serialize};

use super::id::SecretId;
use super::rejection::Invalid;

/// The most attempts in a second that a webhook may ask for.
const MOST_PER_SECOND: u32 = 1_000;

/// The most waits in a schedule: one between any two of ten attempts.
const MOST_WAITS: usize = 9;

/// The longest wait between two attempts, in seconds: a week.
const LONGEST_WAIT: u32 = 7 * 24 * 3600;

/// A webhook's options. What is `None` follows the global default of the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookOptions {
    /// Names the [`CustomHeaders`](super::headers::CustomHeaders) that every attempt carries: they are kept where secrets are.
    pub headers: Option<SecretId>,
    /// Attempts in a second at most, to the webhook's destination: 1 to 1,000.
    pub rate_limit: Option<u32>,
    /// Seconds to wait after the first failed attempt, the second, …: 1 to 9 of them, each up to a week. The last one repeats.
    pub retry_schedule: Option<Vec<u32>>,
}

impl WebhookOptions {
    /// Whether every option follows its default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The total number of attempts that the schedule is written for: one more than there are waits.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        let waits = self.retry_schedule.as_ref()?.len();
        Some(u32::try_from(waits).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// Checks every option.
    ///
    /// # Errors
    /// Names the first one that is out of its bounds.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(1..=MOST_PER_SECOND).contains(&self.rate_limit.unwrap_or(1)) {
            let message = format!("webhook.rate_limit is in attempts per second, 1 to {MOST_PER_SECOND}");
            return Err(Invalid::new("webhook.rate_limit", "invalid_rate_limit", message));
        }
        let is_fine = |waits: &Vec<u32>| {
            (1..=MOST_WAITS).contains(&waits.len()) && waits.iter().all(|wait| (1..=LONGEST_WAIT).contains(wait))
        };
        if !self.retry_schedule.as_ref().is_none_or(is_fine) {
            let message = format!(
                "webhook.retry_schedule is 1 to {MOST_WAITS} waits in seconds, each 1 to {LONGEST_WAIT} (7 days)"
            );
            return Err(Invalid::new("webhook.retry_schedule", "invalid_retry_schedule", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let rate = |rate| WebhookOptions { rate_limit: Some(rate), ..WebhookOptions::default() }.check().is_ok();
        assert!(rate(1) && rate(1_000) && !rate(0) && !rate(1_001));
        let waits = |waits: &[u32]| {
            WebhookOptions { retry_schedule: Some(waits.to_vec()), ..WebhookOptions::default() }.check().is_ok()
        };
        assert!(waits(&[1]) && waits(&[604_800; 9]));
        assert!(!waits(&[]) && !waits(&[1; 10]) && !waits(&[0]) && !waits(&[1, 604_801]));
    }

    #[test]
    fn a_schedule_has_one_attempt_more_than_waits() {
        let with = |waits: Option<Vec<u32>>| WebhookOptions { retry_schedule: waits, ..WebhookOptions::default() };
        assert_eq!((with(None).attempts(), with(Some(vec![5, 300])).attempts()), (None, Some(3)));
        assert!(with(None).is_empty() && !with(Some(vec![5])).is_empty());
    }
}
