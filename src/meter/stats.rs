//! How each destination does: deliveries, attempts and latencies of the last hour and the last day; and of all destinations
//! together, minute by minute.
//!
//! Time is cut into slots, five minutes long for the hour and one hour long for the day; a window is the slot of the
//! moment and as many before it as it takes. What is observed goes into the slot of its own time, so it may come in any
//! order: live, and at the same time from the log.

use std::collections::HashMap;
use std::time::Duration;

use super::latencies::Latencies;
use crate::domain::observation::{Observation, Observed};
use crate::domain::time::Timestamp;

/// Destinations that are told apart. What goes to further ones is counted as going to [`OTHERS`].
const HOSTS: usize = 4096;

/// The name for destinations beyond those that are told apart.
const OTHERS: &str = "(others)";

const HOUR: Window = Window { slot: Duration::from_mins(5), slots: 12 };
const DAY: Window = Window { slot: Duration::from_hours(1), slots: 24 };
const MINUTES: Window = Window { slot: Duration::from_mins(1), slots: 60 };

/// How far back the statistics go.
pub const REACH: Duration = Duration::from_hours(24);

#[derive(Clone, Copy)]
struct Window {
    slot: Duration,
    slots: u64,
}

impl Window {
    fn number(self, at: Timestamp) -> u64 {
        u64::try_from(at.as_millis()).unwrap_or(0) / u64::try_from(self.slot.as_millis()).unwrap_or(u64::MAX)
    }

    /// When a slot begins.
    fn start(self, number: u64) -> Timestamp {
        Timestamp::default().plus(self.slot.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX)))
    }
}

/// What happened in some span of time.
#[derive(Clone, Debug, Default)]
struct Tally {
    delivered: u64,
    dead: u64,
    succeeded: u64,
    failed: u64,
    latencies: Latencies,
}

impl Tally {
    fn observe(&mut self, what: Observed) {
        match what {
            Observed::Attempt { succeeded, duration } => {
                *(if succeeded { &mut self.succeeded } else { &mut self.failed }) += 1;
                self.latencies.add(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
            }
            Observed::Delivered { .. } => self.delivered += 1,
            Observed::Dead => self.dead += 1,
            Observed::Superseded => {}
        }
    }

    fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.latencies.merge(&other.latencies);
    }

    fn is_empty(&self) -> bool {
        self.delivered + self.dead + self.succeeded + self.failed == 0
    }
}

/// One destination's slots, each with its number.
#[derive(Clone, Debug, Default)]
struct Host {
    hour: Vec<(u64, Tally)>,
    day: Vec<(u64, Tally)>,
}

/// What happened within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowStats {
    /// Deliveries that the receiver took.
    pub delivered: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Attempts that ended.
    pub attempts: u64,
    /// Attempts that ended without the receiver's taking it.
    pub failed_attempts: u64,
    /// In milliseconds, what half of the attempts took at most.
    pub p50: Option<u64>,
    /// In milliseconds, what 95 of 100 attempts took at most.
    pub p95: Option<u64>,
    /// In milliseconds, what 99 of 100 attempts took at most.
    pub p99: Option<u64>,
}

/// How a destination does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStats {
    /// Its host, with the port where URLs name one.
    pub host: String,
    /// In the last hour, to five minutes.
    pub hour: WindowStats,
    /// In the last day, to an hour.
    pub day: WindowStats,
}

/// The last hour at all destinations together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourStats {
    /// When each of its minutes began, oldest first, and what happened in it; the last one is not over.
    pub minutes: Vec<(Timestamp, WindowStats)>,
    /// What happened in all of them.
    pub all: WindowStats,
    /// Whether everything is in it, also what an earlier process recorded.
    pub is_complete: bool,
}

/// The statistics of all destinations.
#[derive(Debug, Default)]
pub struct Stats {
    hosts: HashMap<String, Host>,
    minutes: Vec<(u64, Tally)>,
    /// The slot of the day in which room was last made.
    made_room: u64,
    complete: bool,
}

impl Stats {
    /// Takes in what was observed.
    pub fn observe(&mut self, Observation { at, host, what }: &Observation) {
        let slot = DAY.number(*at);
        // It is a look at all of them, and nothing more can have become old within a slot.
        if self.hosts.len() >= HOSTS && self.made_room < slot && !self.hosts.contains_key(host) {
            self.made_room = slot;
            self.hosts.retain(|_, host| host.day.iter().any(|(known, _)| known + DAY.slots > slot));
        }
        let name = if self.hosts.contains_key(host) || self.hosts.len() < HOSTS { host } else { OTHERS };
        let host = match self.hosts.get_mut(name) {
            Some(host) => host,
            None => self.hosts.entry(name.to_owned()).or_default(),
        };
        note(&mut host.hour, HOUR, *at, *what);
        note(&mut host.day, DAY, *at, *what);
        note(&mut self.minutes, MINUTES, *at, *what);
    }

    /// Everything of the last day was taken in.
    pub const fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether everything of the last day was taken in.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Every destination that is known, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.hosts.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// How one destination does; `None` when there was nothing of it in the last day.
    #[must_use]
    pub fn host(&self, name: &str, now: Timestamp) -> Option<HostStats> {
        stats(name, self.hosts.get(name)?, now)
    }

    /// The hour before `now`, at all destinations together.
    #[must_use]
    pub fn hour(&self, now: Timestamp) -> HourStats {
        let newest = MINUTES.number(now);
        let mut all = Tally::default();
        let mut minute = |number| {
            let tally = self.minutes.iter().find(|(slot, _)| *slot == number).map(|(_, tally)| tally);
            tally.inspect(|tally| all.merge(tally));
            (MINUTES.start(number), tally.map(summary).unwrap_or_default())
        };
        let minutes = ((newest + 1).saturating_sub(MINUTES.slots)..=newest).map(&mut minute).collect();
        HourStats { minutes, all: summary(&all), is_complete: self.complete }
    }
}

fn note(slots: &mut Vec<(u64, Tally)>, window: Window, at: Timestamp, what: Observed) {
    let number = window.number(at);
    // Newest last, which is nearly always the one.
    if let Some((_, tally)) = slots.iter_mut().rev().find(|(slot, _)| *slot == number) {
        tally.observe(what);
        return;
    }
    let newest = slots.iter().map(|(slot, _)| *slot).max().unwrap_or(number).max(number);
    slots.retain(|(slot, _)| slot + window.slots >= newest);
    if number + window.slots >= newest {
        let mut tally = Tally::default();
        tally.observe(what);
        slots.push((number, tally));
    }
}

fn stats(name: &str, host: &Host, now: Timestamp) -> Option<HostStats> {
    let whole = |slots: &[(u64, Tally)], window: Window| {
        let mut whole = Tally::default();
        let newest = window.number(now);
        slots.iter().filter(|(slot, _)| slot + window.slots > newest).for_each(|(_, tally)| whole.merge(tally));
        whole
    };
    let (hour, day) = (whole(&host.hour, HOUR), whole(&host.day, DAY));
    let seen = !day.is_empty() || !hour.is_empty();
    seen.then(|| HostStats { host: name.to_owned(), hour: summary(&hour), day: summary(&day) })
}

fn summary(tally: &Tally) -> WindowStats {
    WindowStats {
        delivered: tally.delivered,
        dead: tally.dead,
        attempts: tally.succeeded + tally.failed,
        failed_attempts: tally.failed,
        p50: tally.latencies.percentile(50),
        p95: tally.latencies.percentile(95),
        p99: tally.latencies.percentile(99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Stats {
        fn hosts(&self, now: Timestamp) -> Vec<HostStats> {
            self.names().iter().filter_map(|name| self.host(name, now)).collect()
        }
    }

    const START: Timestamp = Timestamp::from_seconds(1_769_851_800);

    fn seen(host: &str, seconds: u64, what: Observed) -> Observation {
        Observation { at: START.plus(Duration::from_secs(seconds)), host: host.into(), what }
    }

    fn attempt(succeeded: bool, millis: u64) -> Observed {
        Observed::Attempt { succeeded, duration: Duration::from_millis(millis) }
    }

    #[test]
    fn windows_hold_what_lies_in_them_in_whatever_order_it_came() {
        let mut all = vec![seen("b", 0, Observed::Dead), seen("b", 0, attempt(false, 7))];
        for second in 0..600 {
            all.push(seen("a", second * 60, attempt(second % 10 != 0, second)));
            all.extend((second % 10 != 0).then(|| seen("a", second * 60, Observed::Delivered { after: None })));
        }
        let now = START.plus(Duration::from_hours(10));
        let told = |order: &[Observation]| {
            let mut stats = Stats::default();
            for observation in order {
                stats.observe(observation);
            }
            stats.hosts(now)
        };
        let hosts = told(&all);
        all.reverse();
        assert_eq!(told(&all), hosts);
        assert_eq!(hosts.iter().map(|host| host.host.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let a = &hosts[0];
        assert_eq!((a.day.attempts, a.day.failed_attempts, a.day.delivered), (600, 60, 540));
        assert_eq!((a.hour.attempts, a.hour.failed_attempts, a.hour.dead), (55, 5, 0), "to five minutes");
        assert_eq!((a.day.p50, a.day.p99), (Some(303), Some(607)));
        assert_eq!((hosts[1].hour.attempts, hosts[1].day.dead), (0, 1));
        assert!(told(&all).len() == 2);
        let later = now.plus(Duration::from_hours(30));
        let mut stats = Stats::default();
        for observation in &all {
            stats.observe(observation);
        }
        assert_eq!(stats.hosts(later), []);
    }

    #[test]
    fn minutes_tell_of_all_destinations_in_whatever_order_it_came() {
        let mut all =
            vec![seen("a", 59, attempt(true, 8)), seen("b", 61, attempt(false, 9)), seen("b", 61, Observed::Dead)];
        all.extend((0..600).map(|minute| seen("c", minute * 60, Observed::Delivered { after: None })));
        all.reverse();
        let mut stats = Stats::default();
        for observation in &all {
            stats.observe(observation);
        }
        let hour = stats.hour(START.plus(Duration::from_mins(59)));
        assert_eq!((hour.minutes.len(), hour.all), (60, WindowStats::default()), "they are of another hour by now");
        let HourStats { minutes, all: whole, .. } = stats.hour(START.plus(Duration::from_mins(605)));
        assert_eq!((minutes.len(), minutes[59].0), (60, START.plus(Duration::from_mins(605))));
        assert_eq!((whole.delivered, minutes[53].1.delivered, minutes[54].1.delivered), (54, 1, 0));
        let mut stats = Stats::default();
        for observation in all.iter().filter(|observation| observation.host != "c").rev() {
            stats.observe(observation);
        }
        let HourStats { minutes, all: whole, .. } = stats.hour(START.plus(Duration::from_secs(70)));
        let told = |minute: usize| (minutes[minute].1.attempts, minutes[minute].1.dead, minutes[minute].1.p99);
        assert_eq!((told(57), told(58), told(59)), ((0, 0, None), (1, 0, Some(8)), (1, 1, Some(9))));
        assert_eq!((minutes[58].0, whole.attempts, whole.p50, whole.p99), (START, 2, Some(8), Some(9)));
    }

    #[test]
    fn hosts_are_bounded() {
        let mut stats = Stats::default();
        for host in 0..HOSTS + 10 {
            stats.observe(&seen(&format!("h{host}"), 0, Observed::Dead));
        }
        let hosts = stats.hosts(START);
        assert_eq!(hosts.len(), HOSTS + 1);
        assert_eq!(hosts[0].host, OTHERS);
        assert_eq!(hosts[0].day.dead, 10);
        stats.observe(&seen("new", 2 * 86_400, Observed::Dead));
        assert_eq!(stats.hosts.len(), 1, "those of which nothing is left make room");
    }
}
