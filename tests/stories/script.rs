//! The scripts' language: a verb, then words and `key=value` pairs, one command a line. `#` begins a comment.
//!
//! ```text
//! settings max_attempts=2 timeout=10 secret=new,old   first of all, where the defaults will not do
//! register JOB url=… events=a,b max_retries=N timeout=S format=event secret=… window=30m status=… metadata=k:v
//!          headers=name:value rate_limit=N retry_schedule=5,300
//! report JOB [STATUS] total=N completed=N failed=N output=ID errors=ID if_match=N
//! rotate JOB [STATUS] secret=… overlap=1h   another secret, and what is reported with it
//! cancel JOB
//! answer 500 503 timeout hold     what the next attempts come to; `hold`: nothing yet
//! end 200                         what the oldest attempt on hold comes to
//! advance 1s                      time passes, and whatever is due in it happens
//! clock -1h                       the clock is set
//! crash 10m                       the process ends here, and another one opens the log, 10 minutes later or at once
//! retry N [force]                 the dead letter with that number
//! delete N
//! erase JOB                       the payloads of its deliveries
//! history JOB                     its events, as its row leads to them
//! show                            the rows
//! body N                          the bytes of request N
//! verify N secret=… clock=+301s   what a receiver says to request N when its clock is so far from the request's time
//! ```

use std::time::Duration;

/// One line.
pub struct Line<'a> {
    pub verb: &'a str,
    pub words: Vec<&'a str>,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    /// Reads a line; `None` where there is nothing on it.
    pub fn read(line: &'a str) -> Option<Self> {
        let line = line.split('#').next().unwrap_or_default();
        let mut parts = line.split_whitespace();
        let verb = parts.next()?;
        let (pairs, words): (Vec<_>, Vec<_>) = parts.partition(|part| part.contains('='));
        let pairs = pairs.into_iter().filter_map(|pair| pair.split_once('=')).collect();
        Some(Self { verb, words, pairs })
    }

    /// The pairs may only have these keys.
    pub fn allow(&self, keys: &[&str]) {
        for (key, _) in &self.pairs {
            assert!(keys.contains(key), "{} knows no {key}", self.verb);
        }
    }

    pub fn word(&self, place: usize) -> &'a str {
        self.words.get(place).unwrap_or_else(|| panic!("{} says too little", self.verb))
    }

    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
    }

    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key}={value} is no number")))
    }
}

/// `250ms`, `1s`, `30m`, `24h`.
pub fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("'{text}' is no duration"));
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_mins(number),
        "h" => Duration::from_hours(number),
        unit => panic!("'{unit}' is no unit of time"),
    }
}

/// `+301s`, `-1m`: in seconds.
pub fn seconds(text: &str) -> i64 {
    let seconds = i64::try_from(duration(&text[1..]).as_secs()).unwrap();
    match text.as_bytes()[0] {
        b'+' => seconds,
        b'-' => -seconds,
        _ => panic!("'{text}' has no sign"),
    }
}
