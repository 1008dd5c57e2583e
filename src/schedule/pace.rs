//! How fast a destination is served: a circuit breaker, a slow start after it, and a rate limit. Pure.
//!
//! ```text
//!            a row of failures                          the pause is over
//! all slots ───────────────────▶ paused, for 1 s, 2 s, … ──────────────▶ one attempt at a time
//!     ▲                              ▲                                      │  fails │
//!     └── twice as many each time ───│──────────── takes one ───────────────┘        │
//!                                    └───────────────────────────────────────────────┘
//! ```
//!
//! What is not started waits in its lane, and has used up no attempt.

use std::time::Duration;

use crate::domain::retry::Sign;
use crate::domain::time::Timestamp;

/// How destinations are paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Attempts in flight at most, to one destination.
    pub slots: usize,
    /// Failures in a row after which a destination is paused; none: never.
    pub failures: Option<u32>,
    /// The longest pause between two attempts at a destination that fails.
    pub longest_pause: Duration,
    /// Attempts in a second at most, for destinations that have no limit of their own.
    pub rate: Option<Rate>,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { slots: 32, failures: Some(10), longest_pause: Duration::from_mins(1), rate: None }
    }
}

/// A rate limit: a bucket that holds a second's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Attempts in a second, from 1 on.
    pub per_second: u32,
}

impl Rate {
    fn micros(self) -> i64 {
        1_000_000 / i64::from(self.per_second.max(1))
    }
}

/// What became of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// So many failures in a row: it is paused, and then tried with one attempt at a time.
    Paused {
        /// The failures.
        failures: u32,
        /// The end of the first pause.
        until: Timestamp,
    },
    /// It answers again.
    Resumed,
}

/// When an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Now,
    /// Because the destination is paused.
    AfterPause(Timestamp),
    /// Because of the rate limit.
    AtRate(Timestamp),
    /// As soon as one in flight has ended.
    AfterAnother,
}

/// The shortest pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How long it is remembered of a destination that it failed: longer than any pause.
const REMEMBERED: Duration = Duration::from_hours(2);

/// One destination's pace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Failures since the last sign of life.
    failures: u32,
    /// Attempts in flight at most while it recovers; none: as many as any destination.
    recovering: Option<usize>,
    paused_until: Option<Timestamp>,
    /// Whether it has been found out to fail, and has not answered since.
    is_down: bool,
    /// Its own limit, where it has one.
    rate: Option<Rate>,
    /// When the bucket will be full again, in microseconds: the theoretical arrival time of the generic cell rate algorithm
    /// (ITU-T I.371).
    full_at: i64,
    /// When an attempt last said something of it.
    seen: Timestamp,
}

impl Pace {
    pub(super) const fn limit(&mut self, rate: Rate) {
        self.rate = Some(rate);
    }

    pub(super) fn start(&self, in_flight: usize, now: Timestamp, pacing: &Pacing) -> Start {
        if let Some(until) = self.paused_until(now) {
            return Start::AfterPause(until);
        }
        if in_flight >= self.slots(pacing) {
            return Start::AfterAnother;
        }
        let Some(rate) = self.rate.or(pacing.rate) else { return Start::Now };
        let second = rate.micros() * (i64::from(rate.per_second.max(1)) - 1);
        let free = Timestamp::from_millis(
            (self.full_at - second).div_euclid(1000) + i64::from((self.full_at - second) % 1000 != 0),
        );
        if free <= now { Start::Now } else { Start::AtRate(free) }
    }

    /// Attempts that it may have in flight at the moment, pause or not.
    pub(super) fn slots(&self, pacing: &Pacing) -> usize {
        self.recovering.unwrap_or(pacing.slots).min(pacing.slots).max(1)
    }

    /// Failures since the last sign of life.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// The end of its pause, if there is one.
    pub(super) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_until.filter(|until| now < *until)
    }

    pub(super) fn started(&mut self, now: Timestamp, pacing: &Pacing) {
        if let Some(rate) = self.rate.or(pacing.rate) {
            self.full_at = self.full_at.max(now.as_millis().saturating_mul(1000)) + rate.micros();
        }
    }

    /// Takes note of how an attempt ended, and says when that is a turn. Being asked to be left alone is none.
    pub(super) fn ended(&mut self, sign: Sign, now: Timestamp, pacing: &Pacing) -> Option<Turn> {
        self.seen = now;
        match sign {
            Sign::Unknown => {}
            Sign::Alive => {
                (self.failures, self.paused_until) = (0, None);
                let twice = self.recovering.map(|slots| slots.saturating_mul(2));
                self.recovering = twice.filter(|slots| *slots < pacing.slots);
                return std::mem::take(&mut self.is_down).then_some(Turn::Resumed);
            }
            // An attempt that ends during the pause began before it, or was urgent. It must not make the pause longer: many that
            // time out together are one sign.
            Sign::Failing | Sign::Busy(None) if self.is_paused(now) => {}
            Sign::Failing => {
                self.failures = self.failures.saturating_add(1);
                if let Some(over) = pacing.failures.and_then(|most| self.failures.checked_sub(most.max(1))) {
                    let until =
                        self.pause(FIRST_PAUSE.saturating_mul(1 << over.min(20)).min(pacing.longest_pause), now);
                    let is_news = !std::mem::replace(&mut self.is_down, true);
                    return is_news.then_some(Turn::Paused { failures: self.failures, until });
                }
            }
            Sign::Busy(asked) => {
                self.failures = self.failures.saturating_add(u32::from(!self.is_paused(now)));
                if pacing.failures.is_some() {
                    let pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(20)).min(pacing.longest_pause);
                    // The delivery waits as long as was asked; others to the same host may be to somebody else.
                    self.pause(asked.map_or(pause, |asked| asked.min(pacing.longest_pause)), now);
                }
            }
        }
        None
    }

    fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until(now).is_some()
    }

    fn pause(&mut self, pause: Duration, now: Timestamp) -> Timestamp {
        self.recovering = Some(1);
        let until = now.plus(pause);
        *self.paused_until.insert(self.paused_until.map_or(until, |before| before.max(until)))
    }

    /// Whether there is nothing to remember of it: it is well, or nothing was heard of it for long.
    pub(super) fn is_forgettable(&self, now: Timestamp) -> bool {
        let is_well = self.failures == 0 && self.recovering.is_none() || self.seen.plus(REMEMBERED) <= now;
        let is_full = self.full_at <= now.as_millis().saturating_mul(1000);
        self.rate.is_none() && !self.is_paused(now) && is_well && is_full
    }

    pub(super) fn set_back(&mut self, millis: i64) {
        let back = |at: Timestamp| Timestamp::from_millis(at.as_millis().saturating_sub(millis));
        self.paused_until = self.paused_until.map(back);
        self.seen = back(self.seen);
        self.full_at = self.full_at.saturating_sub(millis.saturating_mul(1000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const PACING: Pacing = Pacing { slots: 8, failures: Some(3), longest_pause: Duration::from_mins(1), rate: None };

    #[test]
    fn a_row_of_failures_pauses_longer_each_time() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            pace.ended(Sign::Failing, at(0), &PACING);
            assert_eq!(pace.start(7, at(0), &PACING), Start::Now);
        }
        for (now, until) in [(0, 1_000), (1_000, 3_000), (3_000, 7_000), (7_000, 15_000)] {
            pace.ended(Sign::Failing, at(now), &PACING);
            assert_eq!(pace.start(0, at(until - 1), &PACING), Start::AfterPause(at(until)));
            assert_eq!(pace.start(0, at(until), &PACING), Start::Now);
            assert_eq!(pace.start(1, at(until), &PACING), Start::AfterAnother, "one at a time");
        }
        for now in (100_000..2_000_000).step_by(100_000) {
            pace.ended(Sign::Failing, at(now), &PACING);
        }
        assert_eq!(pace.start(0, at(1_900_000), &PACING), Start::AfterPause(at(1_960_000)), "and no longer than that");
    }

    #[test]
    fn attempts_that_fail_together_are_one_sign() {
        let mut pace = Pace::default();
        for now in 0..32 {
            pace.ended(Sign::Failing, at(now), &PACING);
        }
        assert_eq!(pace.start(0, at(32), &PACING), Start::AfterPause(at(1_002)), "the third began it");
        pace.ended(Sign::Busy(None), at(40), &PACING);
        assert_eq!(pace.start(0, at(40), &PACING), Start::AfterPause(at(1_002)));
        pace.ended(Sign::Busy(Some(Duration::from_secs(9))), at(50), &PACING);
        assert_eq!(pace.start(0, at(50), &PACING), Start::AfterPause(at(9_050)), "unless the receiver asks for more");
        pace.ended(Sign::Failing, at(9_050), &PACING);
        assert_eq!(pace.start(0, at(9_050), &PACING), Start::AfterPause(at(11_050)), "the probe is another sign");
    }

    #[test]
    fn a_sign_of_life_ends_the_pause_and_the_slots_come_back_step_by_step() {
        let mut pace = Pace::default();
        for _ in 0..5 {
            pace.ended(Sign::Failing, at(0), &PACING);
        }
        for slots in [2, 4, 8] {
            pace.ended(Sign::Alive, at(1), &PACING);
            assert_eq!(pace.start(slots - 1, at(1), &PACING), Start::Now);
            assert_eq!(pace.start(slots, at(1), &PACING), Start::AfterAnother);
        }
        assert!(pace.is_forgettable(at(1)));
    }

    #[test]
    fn a_destination_turns_once_each_way() {
        let mut pace = Pace::default();
        let mut turn = |sign, millis| pace.ended(sign, at(millis), &PACING);
        assert_eq!([turn(Sign::Failing, 0), turn(Sign::Failing, 0)], [None, None]);
        assert_eq!(turn(Sign::Failing, 0), Some(Turn::Paused { failures: 3, until: at(1_000) }));
        assert_eq!([turn(Sign::Failing, 500), turn(Sign::Failing, 1_000), turn(Sign::Unknown, 1_001)], [None; 3]);
        assert_eq!(turn(Sign::Alive, 3_000), Some(Turn::Resumed));
        assert_eq!([turn(Sign::Alive, 3_000), turn(Sign::Busy(None), 3_001), turn(Sign::Alive, 3_002)], [None; 3]);
        for sign in [Sign::Failing, Sign::Failing] {
            assert_eq!(turn(sign, 9_000), None);
        }
        assert!(turn(Sign::Failing, 9_000).is_some(), "and once more the next time");
    }

    #[test]
    fn whoever_asks_to_be_left_alone_is() {
        let mut pace = Pace::default();
        pace.ended(Sign::Busy(Some(Duration::from_secs(50))), at(0), &PACING);
        assert_eq!(pace.start(0, at(49_999), &PACING), Start::AfterPause(at(50_000)));
        let mut pace = Pace::default();
        pace.ended(Sign::Busy(Some(Duration::from_hours(1))), at(0), &PACING);
        assert_eq!(
            pace.start(0, at(0), &PACING),
            Start::AfterPause(at(60_000)),
            "others may go to somebody else there"
        );
        let mut pace = Pace::default();
        pace.ended(Sign::Busy(None), at(0), &PACING);
        assert_eq!(pace.start(0, at(0), &PACING), Start::AfterPause(at(1_000)));
        pace.ended(Sign::Busy(None), at(1_000), &PACING);
        assert_eq!(pace.start(0, at(1_000), &PACING), Start::AfterPause(at(3_000)));
        assert!(!pace.is_forgettable(at(9_999)));
    }

    #[test]
    fn without_a_limit_of_failures_nothing_is_paused() {
        let pacing = Pacing { failures: None, ..PACING };
        let mut pace = Pace::default();
        for sign in [Sign::Failing, Sign::Busy(Some(Duration::from_secs(9))), Sign::Failing, Sign::Unknown].repeat(9) {
            pace.ended(sign, at(0), &pacing);
        }
        assert_eq!(pace.start(7, at(0), &pacing), Start::Now);
    }

    #[test]
    fn a_rate_lets_through_a_seconds_worth_and_then_one_at_a_time() {
        let pacing = Pacing { rate: Some(Rate { per_second: 4 }), ..PACING };
        let mut pace = Pace::default();
        for _ in 0..4 {
            assert_eq!(pace.start(0, at(10_000), &pacing), Start::Now);
            pace.started(at(10_000), &pacing);
        }
        assert_eq!(pace.start(0, at(10_000), &pacing), Start::AtRate(at(10_250)));
        pace.started(at(10_250), &pacing);
        assert_eq!(pace.start(0, at(10_250), &pacing), Start::AtRate(at(10_500)));
        assert!(!pace.is_forgettable(at(11_249)) && pace.is_forgettable(at(11_250)));
        pace.limit(Rate { per_second: 1 });
        pace.started(at(20_000), &pacing);
        assert_eq!(pace.start(0, at(20_000), &pacing), Start::AtRate(at(21_000)), "its own limit comes first");
    }

    proptest::proptest! {
        /// Whatever is asked when: in no second more than twice the rate, and over long times the rate.
        #[test]
        fn a_rate_is_kept(per_second in 1..200_u32, gaps in proptest::collection::vec(0..50_i64, 1..400)) {
            let pacing = Pacing { rate: Some(Rate { per_second }), ..PACING };
            let (mut pace, mut now, mut started) = (Pace::default(), 1_000_000, Vec::new());
            for gap in gaps {
                now += gap;
                match pace.start(0, at(now), &pacing) {
                    Start::Now => {
                        pace.started(at(now), &pacing);
                        started.push(now);
                    }
                    Start::AtRate(later) => proptest::prop_assert!(later > at(now) && later <= at(now + 1_001)),
                    other => proptest::prop_assert!(false, "{other:?}"),
                }
            }
            for (place, first) in started.iter().enumerate() {
                let within = |length: i64| started[place..].iter().take_while(|at| **at < first + length).count();
                proptest::prop_assert!(within(1_000) <= 2 * per_second as usize);
                proptest::prop_assert!(within(5_000) <= 6 * per_second as usize + 1);
            }
        }
    }
}
