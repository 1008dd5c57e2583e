//! Meaning: from a text to a value within its bounds, and how that value is written.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use toml::Value;

use super::LogFormat;

/// A value and how it is written in a file; or else what is allowed, in words.
pub(super) type Parsed<T> = Result<(T, Value), String>;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A hundred years.
const LONGEST_KEPT_DAYS: u64 = 36_500;

pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() { Err("a path".into()) } else { Ok((text.into(), text.into())) }
}

/// A text whose meaning is somebody else's.
#[expect(clippy::unnecessary_wraps, reason = "it is one of those that parse")]
pub(super) fn text(text: &str) -> Parsed<String> {
    Ok((text.to_owned(), text.into()))
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    let address: SocketAddr =
        text.parse().map_err(|_| "an IP address and a port, such as 127.0.0.1:4080 or [::1]:4080")?;
    Ok((address, address.to_string().into()))
}

pub(super) fn truth(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" => Ok((true, true.into())),
        "false" | "0" => Ok((false, false.into())),
        _ => Err("true or false".into()),
    }
}

/// Levels of logging, divided by commas: one for all, or `module=level`.
pub(super) fn log_level(text: &str) -> Parsed<String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let is_module = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let is_directive = |directive: &str| match directive.split_once('=') {
        Some((module, level)) => !module.is_empty() && module.chars().all(is_module) && LEVELS.contains(&level),
        None => LEVELS.contains(&directive),
    };
    let levels: Vec<_> = text.split(',').map(str::trim).collect();
    if !levels.iter().all(|directive| is_directive(directive)) {
        return Err(format!("one of {}, or such of modules: warn,hookledger::api=debug", LEVELS.join(", ")));
    }
    Ok((levels.join(","), levels.join(",").into()))
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok((LogFormat::Text, text.into())),
        "json" => Ok((LogFormat::Json, text.into())),
        _ => Err("text or json".into()),
    }
}

/// The URL of a server, without what a request adds to it.
pub(super) fn server(text: &str) -> Parsed<String> {
    let is_one = |url: &url::Url| {
        let (is_http, has_user) = (matches!(url.scheme(), "http" | "https"), !url.username().is_empty());
        is_http
            && url.has_host()
            && !has_user
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    match text.parse().ok().filter(is_one) {
        Some(_) => Ok((text.trim_end_matches('/').to_owned(), text.into())),
        None => Err("the URL of a server, such as http://127.0.0.1:4080".into()),
    }
}

/// A whole number within `range`.
pub(super) fn number<T>(range: RangeInclusive<u32>) -> impl Fn(&str) -> Parsed<T>
where
    T: TryFrom<u32>,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| Some((T::try_from(number).ok()?, number)));
        let (number, shown) = number.ok_or_else(|| format!("a whole number, {} to {}", range.start(), range.end()))?;
        Ok((number, i64::from(shown).into()))
    }
}

/// A duration within `range`, with its unit: `10s`, `1m 30s`, `500ms`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let duration = text.parse::<SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
        let duration = duration.filter(|duration| range.contains(duration));
        let allowed = || format!("a duration such as 10s or 2m, {} to {}", Shown(*range.start()), Shown(*range.end()));
        let duration = duration.ok_or_else(allowed)?;
        Ok((duration, Shown(duration).to_string().into()))
    }
}

/// As [`duration`], in whole seconds.
pub(super) fn seconds(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    let parse = duration(range);
    move |text| match parse(text)? {
        (duration, _) if duration.subsec_nanos() != 0 => Err("whole seconds".into()),
        parsed => Ok(parsed),
    }
}

/// Up to `most` durations within `range`, divided by commas; none where the text is empty.
pub(super) fn durations(most: usize, range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Vec<Duration>> {
    move |text| {
        let one = duration(range.clone());
        let texts = text.split(',').filter(|_| !text.trim().is_empty());
        let parsed: Result<Vec<_>, _> = texts.map(|text| one(text.trim())).collect();
        let durations: Vec<_> = parsed.iter().flatten().map(|(duration, _)| *duration).collect();
        if parsed.is_err() || durations.len() > most {
            let (least, longest) = (Shown(*range.start()), Shown(*range.end()));
            return Err(format!("up to {most} durations such as 5s,5m,2h, each {least} to {longest}"));
        }
        let shown: Vec<_> = durations.iter().map(|duration| Shown(*duration).to_string()).collect();
        Ok((durations, shown.join(",").into()))
    }
}

/// How long to keep something: a duration, also in days, or `off` (or 0) for ever.
pub(super) fn retention(text: &str) -> Parsed<Option<Duration>> {
    if matches!(text, "off" | "0") {
        return Ok((None, "off".into()));
    }
    let days = text.strip_suffix('d').and_then(|days| days.trim_end().parse().ok()).and_then(from_days);
    let given = days.or_else(|| duration(Duration::ZERO..=Duration::MAX)(text).ok().map(|(duration, _)| duration));
    let range = Duration::from_secs(1)..=Duration::from_hours(LONGEST_KEPT_DAYS * 24);
    let kept = given.filter(|kept| range.contains(kept));
    let allowed = || format!("off, or a duration such as 12h or 30d, 1s to {LONGEST_KEPT_DAYS}d");
    let kept = kept.ok_or_else(allowed)?;
    let (days, rest) = (kept.as_secs() / 86_400, kept.as_nanos() % Duration::from_hours(24).as_nanos());
    let shown = if rest == 0 { format!("{days}d") } else { Shown(kept).to_string() };
    Ok((Some(kept), shown.into()))
}

fn from_days(days: u64) -> Option<Duration> {
    Some(Duration::from_secs(days.checked_mul(86_400)?))
}

/// A size within `range`, in bytes, or in KiB or MiB.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&str) -> Parsed<usize> {
    move |text| {
        let (digits, unit) = match text {
            _ if text.ends_with("KiB") => (&text[..text.len() - 3], KIB),
            _ if text.ends_with("MiB") => (&text[..text.len() - 3], MIB),
            _ => (text, 1),
        };
        let bytes = digits.trim_end().parse().ok().and_then(|number: usize| number.checked_mul(unit));
        let bytes = bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            format!("a number of bytes, or of KiB or MiB, {} to {}", written(*range.start()), written(*range.end()))
        })?;
        Ok((bytes, written(bytes).into()))
    }
}

/// A size in the largest unit that it is a multiple of.
fn written(bytes: usize) -> String {
    let unit = [(MIB, "MiB"), (KIB, "KiB")].into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// A duration as it is written: `1m 30s`.
pub(super) struct Shown(pub(super) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What can't be converted is beyond every bound here.
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: PartialEq + fmt::Debug>(parse: impl Fn(&str) -> Parsed<T>, fine: &[(&str, T, &str)], bad: &[&str]) {
        for (text, value, shown) in fine {
            let (parsed, written) = parse(text).unwrap();
            assert_eq!((&parsed, &*written.to_string()), (value, *shown), "{text}");
            let again = written.as_str().map_or_else(|| written.to_string(), ToOwned::to_owned);
            assert_eq!(parse(&again), Ok((parsed, written)), "what is written reads as the same");
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        check(
            number::<u32>(1..=10),
            &[("1", 1, "1"), ("10", 10, "10")],
            &["0", "11", "-1", "", "3.0", "x", "4294967297"],
        );
    }

    #[test]
    fn durations_need_a_unit_and_keep_their_bounds() {
        let parse = duration(Duration::from_millis(10)..=Duration::from_hours(1));
        let second = Duration::from_secs(1);
        let fine = [
            ("10ms", second / 100, "\"10ms\""),
            ("1500 ms", second * 3 / 2, "\"1s 500ms\""),
            ("1m30s", second * 90, "\"1m 30s\""),
            ("60 minutes", second * 3600, "\"1h\""),
            ("PT1S", second, "\"1s\""),
        ];
        check(parse, &fine, &["9ms", "1h 1ns", "30", "", "-5s", "1d", "fast"]);
        let parse = seconds(second * 5..=second * 300);
        check(
            &parse,
            &[("5s", second * 5, "\"5s\""), ("5m", second * 300, "\"5m\"")],
            &["4s", "5m 1s", "5.5s", "5s 1ns"],
        );
        assert_eq!(parse("2s").unwrap_err(), "a duration such as 10s or 2m, 5s to 5m");
    }

    #[test]
    fn a_schedule_is_a_list_of_durations() {
        let second = Duration::from_secs(1);
        let parse = durations(3, second..=second * 3600);
        let fine = [
            ("", vec![], "\"\""),
            ("5s", vec![second * 5], "\"5s\""),
            (" 5s, 1m30s ,1h", vec![second * 5, second * 90, second * 3600], "\"5s,1m 30s,1h\""),
        ];
        check(&parse, &fine, &["5", "5s,", ",5s", "5s,,6s", "1s,2s,3s,4s", "500ms", "2h", "5s;6s"]);
        assert_eq!(parse("0s").unwrap_err(), "up to 3 durations such as 5s,5m,2h, each 1s to 1h");
    }

    #[test]
    fn retention_is_a_duration_also_in_days_or_off() {
        let day = Duration::from_hours(24);
        let fine = [
            ("off", None, "\"off\""),
            ("0", None, "\"off\""),
            ("30d", Some(30 * day), "\"30d\""),
            ("7 d", Some(7 * day), "\"7d\""),
            ("48h", Some(2 * day), "\"2d\""),
            ("36h", Some(3 * day / 2), "\"36h\""),
            ("90s", Some(Duration::from_secs(90)), "\"1m 30s\""),
            ("36500d", Some(36_500 * day), "\"36500d\""),
        ];
        check(
            retention,
            &fine,
            &["0s", "1ms", "36501d", "d", "-1d", "1.5d", "30", "", "never", "99999999999999999999d"],
        );
        assert_eq!(retention("never").unwrap_err(), "off, or a duration such as 12h or 30d, 1s to 36500d");
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        let fine = [("1024", KIB, "\"1KiB\""), ("1025", 1025, "\"1025\""), ("2 MiB", 2 * MIB, "\"2MiB\"")];
        check(size(KIB..=16 * MIB), &fine, &["1023", "17MiB", "1MB", "MiB", "", "-1", "99999999999999999999MiB"]);
    }

    #[test]
    fn levels_formats_and_servers() {
        let levels =
            [("warn", "warn".into(), "\"warn\""), ("info, a::b=off", "info,a::b=off".into(), "\"info,a::b=off\"")];
        check(log_level, &levels, &["", "inof", "hookledger", "INFO", "info,", "=info", "a=", "a=loud", "[x]=info"]);
        check(log_format, &[("json", LogFormat::Json, "\"json\"")], &["", "JSON", "xml"]);
        let local = ("http://127.0.0.1:4080/", "http://127.0.0.1:4080".into(), "\"http://127.0.0.1:4080/\"");
        let bad =
            ["", "127.0.0.1:4080", "localhost:4080", "ftp://a", "http://a:b@c", "http://a?b", "https://a#b", "http://"];
        check(server, &[local, ("https://a/b", "https://a/b".into(), "\"https://a/b\"")], &bad);
    }

    #[test]
    fn addresses_truths_and_paths() {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        check(address, &[("127.0.0.1:80", local, "\"127.0.0.1:80\"")], &["localhost:80", "127.0.0.1", ":80", "80", ""]);
        check(truth, &[("true", true, "true"), ("0", false, "false")], &["yes", "", "TRUE"]);
        check(path, &[("a \"b", "a \"b".into(), "'a \"b'")], &[""]);
    }
}
