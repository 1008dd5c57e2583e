//! Times as people read and write them.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;

/// Writes times: for a terminal with how long ago they were, for a pipe as the API has them.
#[derive(Clone, Copy)]
pub(super) struct Times {
    now: Timestamp,
    is_terminal: bool,
}

impl Times {
    pub(super) fn new(is_terminal: bool) -> Self {
        Self { now: SystemClock.now(), is_terminal }
    }

    /// A point in time.
    pub(super) fn show(self, at: Timestamp) -> String {
        if self.is_terminal { format!("{}, {}", absolute(at), self.distance(at)) } else { at.to_string() }
    }

    /// A point in time in the API's form (ISO 8601).
    pub(super) fn iso(self, at: &str) -> String {
        read(at).map_or_else(|| at.to_owned(), |at| self.show(at))
    }

    /// The same where there is little room: the time of day of what was today, and else the day.
    pub(super) fn brief(self, at: Timestamp) -> String {
        let absolute = absolute(at);
        let is_near = at.since(self.now).max(self.now.since(at)) < Duration::from_hours(24);
        match absolute.split_once(' ') {
            Some((day, time)) if self.is_terminal => {
                format!("{}, {}", if is_near { time } else { day }, self.distance(at))
            }
            _ => self.show(at),
        }
    }

    /// As [`brief`](Self::brief), of a point in time in the API's form.
    pub(super) fn brief_iso(self, at: &str) -> String {
        read(at).map_or_else(|| at.to_owned(), |at| self.brief(at))
    }

    /// `3 min ago`, `in 2 h`.
    fn distance(self, at: Timestamp) -> String {
        if at > self.now {
            format!("in {}", rough(at.since(self.now)))
        } else {
            format!("{} ago", rough(self.now.since(at)))
        }
    }
}

/// `2026-01-31 09:30:00Z`.
fn absolute(at: Timestamp) -> String {
    let iso = at.to_string();
    // Times that the calendar does not reach are written in another way.
    if iso.len() == 24 { format!("{} {}Z", &iso[..10], &iso[11..19]) } else { iso }
}

/// A length of time in its largest unit.
pub(super) fn rough(length: Duration) -> String {
    match length.as_secs() {
        0 => "less than 1 s".into(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn read(iso: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = iso.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// A point in time as an argument: `2026-01-31T09:30:00Z`, `2026-01-31` (its beginning, UTC), or `2h`, so long ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub(super) Timestamp);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = |duration: SignedDuration| {
            let millis = i64::try_from(duration.as_millis()).ok().filter(|millis| *millis >= 0)?;
            Some(Timestamp::from_millis(SystemClock.now().as_millis().saturating_sub(millis)))
        };
        let day = || read(&format!("{text}T00:00:00Z"));
        let days = || {
            let days: u16 = text.strip_suffix('d')?.parse().ok()?;
            ago(SignedDuration::from_hours(24 * i64::from(days)))
        };
        let found = read(text).or_else(day).or_else(days).or_else(|| text.parse().ok().and_then(ago));
        found.map(Self).ok_or("a time is written like 2026-01-31T09:30:00Z or 2026-01-31, or 2h or 7d for so long ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_how_long_ago_it_was() {
        let now = Timestamp::from_millis(1_769_851_800_250);
        let show = |is_terminal, seconds: i64| {
            Times { now, is_terminal }.show(Timestamp::from_millis(now.as_millis() + seconds * 1000))
        };
        assert_eq!(show(true, 0), "2026-01-31 09:30:00Z, less than 1 s ago");
        assert_eq!(show(true, -59), "2026-01-31 09:29:01Z, 59 s ago");
        assert_eq!(show(true, -180), "2026-01-31 09:27:00Z, 3 min ago");
        assert_eq!(show(true, 7300), "2026-01-31 11:31:40Z, in 2 h");
        assert_eq!(show(true, -200_000), "2026-01-29 01:56:40Z, 2 days ago");
        assert_eq!(show(false, -180), "2026-01-31T09:27:00.250Z");
        let times = Times { now, is_terminal: true };
        assert_eq!(times.brief(Timestamp::from_seconds(1_769_851_799)), "09:29:59Z, 1 s ago");
        assert_eq!(times.brief_iso("2026-01-29T00:00:00Z"), "2026-01-29, 2 days ago");
        assert_eq!(times.iso("yesterday"), "yesterday", "what a newer server says is shown as it is");
        assert_eq!(absolute(Timestamp::from_millis(i64::MAX)), format!("{}ms", i64::MAX));
    }

    #[test]
    fn moments_are_absolute_or_so_long_ago() {
        let at = |text: &str| text.parse::<Moment>().map(|moment| moment.0);
        assert_eq!(at("2026-01-31T11:30:00.250+02:00"), Ok(Timestamp::from_millis(1_769_851_800_250)));
        assert_eq!(at("2026-01-31"), Ok(Timestamp::from_seconds(1_769_817_600)));
        let (before, hour, after) = (SystemClock.now(), at("1h").unwrap(), SystemClock.now());
        assert!((before.as_millis()..=after.as_millis()).contains(&(hour.as_millis() + 3_600_000)));
        assert!(at("7d").unwrap() < at("1h 30m").unwrap() && at("0s").unwrap() > hour);
        for text in ["", "yesterday", "-1h", "7", "2026-01-31T09:30:00", "2026-02-30", "d", "99999d"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
