//! When a failed attempt is made again: pure, and the same answer every time it is asked.

use std::time::Duration;

use super::id::DeliveryId;
use super::outcome::{FailureKind, Outcome, RetryAfter, is_success};
use super::time::Timestamp;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first attempt; it doubles after each one.
    pub base: Duration,
    /// The longest wait. What a receiver asks for with `Retry-After` is bounded by an hour, whatever this is.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: MAX_RETRY_AFTER }
    }
}

/// The longest that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Jitter adds at most this part of the wait: enough to part deliveries that failed together, and never less than the wait itself.
const JITTER_PARTS: u64 = 10;

impl Backoff {
    /// How long to wait after attempt number `attempt` (1 for the first) of `delivery`.
    ///
    /// 1 s, 2 s, 4 s, …, capped, and up to a tenth more, which is a hash of delivery and attempt.
    #[must_use]
    pub fn wait(&self, delivery: DeliveryId, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let wait = self.base.saturating_mul(1 << doublings).min(self.cap);
        wait.saturating_add(jitter(wait, delivery, attempt))
    }
}

/// How long to wait after attempt number `attempt` (1 for the first) of `delivery`, by a schedule of waits: the last one
/// repeats, and each is up to a tenth longer, as with [`Backoff::wait`]. `None` when the schedule is empty.
#[must_use]
pub fn scheduled_wait(waits: &[Duration], delivery: DeliveryId, attempt: u32) -> Option<Duration> {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = *waits.get(place).or_else(|| waits.last())?;
    Some(wait.saturating_add(jitter(wait, delivery, attempt)))
}

fn jitter(wait: Duration, delivery: DeliveryId, attempt: u32) -> Duration {
    let span = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) / JITTER_PARTS;
    let hash = mix(low(delivery.0) ^ mix(low(delivery.0 >> 64) ^ mix(u64::from(attempt))));
    Duration::from_millis(if span == 0 { 0 } else { hash % span })
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
const fn low(bits: u128) -> u64 {
    bits as u64
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): every bit of the input moves every bit of the output.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What an outcome means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Worth another attempt, where one is left; the receiver may have asked for a wait of its own.
    Retry {
        /// How long the receiver asked to wait.
        asked: Option<Duration>,
    },
    /// Another attempt would be wrong (410 Gone) or in vain (the address is blocked).
    Final,
}

/// Judges an outcome that came in at `now`.
///
/// 2xx is success, and nothing else is. 410 ends it. 429 and 503 may name a wait (RFC 9110, section 10.2.3), which is
/// held to between a second and an hour.
#[must_use]
pub fn judge(outcome: &Outcome, now: Timestamp) -> Verdict {
    match &outcome.result {
        Ok(response) if is_success(response.status) => Verdict::Delivered,
        Ok(response) if response.status == 410 => Verdict::Final,
        Ok(response) if matches!(response.status, 429 | 503) => {
            Verdict::Retry { asked: response.retry_after.map(|after| asked(after, now)) }
        }
        Err(failure) if failure.kind == FailureKind::Blocked => Verdict::Final,
        Ok(_) | Err(_) => Verdict::Retry { asked: None },
    }
}

/// What an attempt says of its destination, beyond the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answers; whether it takes what it gets is another matter.
    Alive,
    /// It does not answer, or says that it fails.
    Failing,
    /// It asks to be left alone (429, 503), for so long if it says how long.
    Busy(Option<Duration>),
    /// Nothing: the attempt did not get there.
    Unknown,
}

/// Reads an outcome that came in at `now` for what it says of the destination.
#[must_use]
pub fn sign(outcome: &Outcome, now: Timestamp) -> Sign {
    match &outcome.result {
        Ok(response) if matches!(response.status, 429 | 503) => {
            Sign::Busy(response.retry_after.map(|after| asked(after, now)))
        }
        Ok(response) if response.status >= 500 => Sign::Failing,
        Ok(_) => Sign::Alive,
        Err(failure) => match failure.kind {
            FailureKind::Blocked | FailureKind::Internal => Sign::Unknown,
            FailureKind::Resolve
            | FailureKind::Connect
            | FailureKind::Tls
            | FailureKind::Timeout
            | FailureKind::Protocol => Sign::Failing,
        },
    }
}

fn asked(after: RetryAfter, now: Timestamp) -> Duration {
    let wait = match after {
        RetryAfter::Seconds(seconds) => Duration::from_secs(seconds),
        RetryAfter::At(at) => at.since(now),
    };
    wait.clamp(Duration::from_secs(1), MAX_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Failure, Response};
    use super::*;

    fn answer(status: u16, retry_after: Option<RetryAfter>) -> Outcome {
        Outcome { duration_ms: 1, result: Ok(Response { status, excerpt: String::new(), retry_after }) }
    }

    #[test]
    fn waits_double_and_are_capped() {
        let backoff = Backoff::default();
        for (attempt, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8), (12, 2048), (13, 3600), (40, 3600), (u32::MAX, 3600)]
        {
            let wait = backoff.wait(DeliveryId(7), attempt);
            let least = Duration::from_secs(seconds);
            assert!(wait >= least && wait <= least + least / 10, "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn a_schedule_is_followed_and_its_last_wait_repeats() {
        let waits = [5, 300, 1].map(Duration::from_secs);
        for (attempt, least) in [(1, 5), (2, 300), (3, 1), (4, 1), (u32::MAX, 1)] {
            let least = Duration::from_secs(least);
            let wait = scheduled_wait(&waits, DeliveryId(7), attempt).unwrap();
            assert!(wait >= least && wait <= least + least / 10, "{attempt}: {wait:?}");
            assert_eq!(scheduled_wait(&waits, DeliveryId(7), attempt), Some(wait));
        }
        assert_ne!(scheduled_wait(&waits, DeliveryId(7), 2), scheduled_wait(&waits, DeliveryId(8), 2));
        assert_eq!(scheduled_wait(&[], DeliveryId(7), 1), None);
    }

    #[test]
    fn what_an_outcome_says_of_the_destination() {
        let failed = |kind| Outcome { duration_ms: 1, result: Err(Failure { kind, detail: String::new() }) };
        for (outcome, expected) in [
            (answer(204, None), Sign::Alive),
            (answer(404, None), Sign::Alive),
            (answer(410, None), Sign::Alive),
            (answer(302, None), Sign::Alive),
            (answer(500, Some(RetryAfter::Seconds(9))), Sign::Failing),
            (answer(429, None), Sign::Busy(None)),
            (answer(503, Some(RetryAfter::Seconds(9_999))), Sign::Busy(Some(MAX_RETRY_AFTER))),
            (failed(FailureKind::Timeout), Sign::Failing),
            (failed(FailureKind::Blocked), Sign::Unknown),
            (failed(FailureKind::Internal), Sign::Unknown),
        ] {
            assert_eq!(sign(&outcome, Timestamp::default()), expected, "{outcome:?}");
        }
    }

    #[test]
    fn jitter_is_a_function_of_delivery_and_attempt() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(DeliveryId(7), 3), backoff.wait(DeliveryId(7), 3));
        let waits: std::collections::BTreeSet<_> = (0..100).map(|id| backoff.wait(DeliveryId(id), 3)).collect();
        assert!(waits.len() > 70, "deliveries that failed together come back apart: {}", waits.len());
        assert_eq!(
            backoff.wait(DeliveryId(1), 1),
            Duration::from_millis(1015),
            "part of the recorded history: never changes"
        );
    }

    #[test]
    fn only_2xx_is_success_and_410_and_blocked_are_final() {
        let now = Timestamp::default();
        for status in [200, 201, 204, 299] {
            assert_eq!(judge(&answer(status, None), now), Verdict::Delivered);
        }
        for status in [199, 300, 301, 304, 308, 400, 404, 429, 500, 503] {
            assert_eq!(judge(&answer(status, None), now), Verdict::Retry { asked: None }, "{status}");
        }
        assert_eq!(judge(&answer(410, None), now), Verdict::Final);
        let failed = |kind| Outcome { duration_ms: 1, result: Err(Failure { kind, detail: String::new() }) };
        assert_eq!(judge(&failed(FailureKind::Blocked), now), Verdict::Final);
        assert_eq!(judge(&failed(FailureKind::Timeout), now), Verdict::Retry { asked: None });
    }

    #[test]
    fn a_wait_that_the_receiver_asks_for_is_held_to_bounds() {
        let now = Timestamp::from_seconds(1000);
        let wait = |status, after| judge(&answer(status, Some(after)), now);
        let retry = |seconds| Verdict::Retry { asked: Some(Duration::from_secs(seconds)) };
        assert_eq!(wait(429, RetryAfter::Seconds(7)), retry(7));
        assert_eq!(wait(503, RetryAfter::Seconds(u64::MAX)), retry(3600));
        assert_eq!(wait(503, RetryAfter::Seconds(0)), retry(1));
        assert_eq!(wait(503, RetryAfter::At(Timestamp::from_seconds(1030))), retry(30));
        assert_eq!(wait(503, RetryAfter::At(Timestamp::from_seconds(10))), retry(1));
        assert_eq!(wait(500, RetryAfter::Seconds(7)), Verdict::Retry { asked: None });
    }
}
