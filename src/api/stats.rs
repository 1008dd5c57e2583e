//! How each destination does, and how they all did, minute by minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Json;
use super::problem::Problem;
use super::query::Params;
use super::{Shared, blocking};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::domain::webhook::authority;
use crate::meter::{HostStats, HourStats, WindowStats};
use crate::runtime::Condition;

/// How long the answer to how destinations stand is waited for: the engine gives it between two commits.
const PATIENCE: Duration = Duration::from_millis(250);

/// Destinations of which it is told how they stand.
const CONDITIONS: usize = 4096;

/// Statistics of every destination of the last day, and of those to which something is on its way.
#[derive(Serialize, JsonSchema)]
pub(super) struct StatsObject {
    /// Always `list`.
    object: &'static str,
    data: Vec<HostObject>,
    /// Whether all of the last day is in them. After a start it is read back from the log, which takes a moment.
    complete: bool,
}

/// How a destination does.
#[derive(Serialize, JsonSchema)]
struct HostObject {
    /// Its host, with the port where URLs name one.
    host: String,
    /// The last hour, to five minutes.
    last_hour: WindowObject,
    /// The last day, to an hour.
    last_day: WindowObject,
    /// How it stands at the moment, for each scheme and port by which it is delivered to; empty when nothing is on its way and
    /// nothing is remembered against it. Null when that is not known at the moment.
    now: Option<Vec<ConditionObject>>,
}

/// How a destination stands.
#[derive(Serialize, JsonSchema)]
struct ConditionObject {
    /// Its scheme, host and port.
    destination: String,
    /// Attempts in flight.
    in_flight: usize,
    /// Deliveries that are due, and wait for their turn, the end of a pause, or the rate limit.
    ready: usize,
    /// Deliveries that are not due yet.
    waiting: usize,
    /// Attempts that may be in flight at once: fewer than configured while it recovers.
    slots: usize,
    /// Failures since the last sign of life.
    failures: u32,
    /// Until when it is left alone; null when it is not paused.
    paused_until: Option<String>,
}

impl From<Condition> for ConditionObject {
    fn from(condition: Condition) -> Self {
        let Condition { authority, in_flight, ready, waiting, slots, failures, paused_until } = condition;
        let paused_until = paused_until.map(|until| until.to_string());
        Self { destination: authority, in_flight, ready, waiting, slots, failures, paused_until }
    }
}

/// What happened within some time.
#[derive(Serialize, JsonSchema)]
struct WindowObject {
    /// Deliveries that came to an end: delivered, or dead.
    deliveries: u64,
    /// Deliveries that the receiver took.
    delivered: u64,
    /// Deliveries that were given up.
    dead: u64,
    /// The part of the deliveries that the receiver took, 0 to 1; null when none came to an end.
    success_rate: Option<f64>,
    /// Attempts that ended.
    attempts: u64,
    /// Attempts that failed.
    failed_attempts: u64,
    /// How long attempts took.
    latency_ms: LatencyObject,
}

/// Percentiles in milliseconds, to within a sixteenth; null when there was no attempt.
#[derive(Serialize, JsonSchema)]
struct LatencyObject {
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

impl From<WindowStats> for WindowObject {
    fn from(window: WindowStats) -> Self {
        let WindowStats { delivered, dead, attempts, failed_attempts, p50, p95, p99 } = window;
        let deliveries = delivered + dead;
        #[expect(clippy::cast_precision_loss, reason = "no count here is near 2^52")]
        let success_rate = (deliveries > 0).then(|| delivered as f64 / deliveries as f64);
        let latency_ms = LatencyObject { p50, p95, p99 };
        Self { deliveries, delivered, dead, success_rate, attempts, failed_attempts, latency_ms }
    }
}

/// `GET /v1/webhooks/stats`
pub(super) async fn show(State(app): State<Shared>, _: Params<()>) -> Result<Json<StatsObject>, Problem> {
    let conditions = tokio::time::timeout(PATIENCE, app.handle.conditions(CONDITIONS)).await.unwrap_or_default();
    let read = blocking(&app, |app| {
        let (hosts, complete) = app.handle.meter().stats(SystemClock.now());
        Ok(StatsObject { object: "list", data: joined(hosts, conditions), complete })
    });
    read.await.map(Json)
}

/// What happened at each host, and how it stands now: also those at which nothing has happened yet.
fn joined(hosts: Vec<HostStats>, conditions: Option<Vec<Condition>>) -> Vec<HostObject> {
    let is_known = conditions.is_some();
    let mut conditions: BTreeMap<String, Condition> =
        conditions.into_iter().flatten().map(|condition| (condition.authority.clone(), condition)).collect();
    let mut seen = BTreeSet::new();
    let mut objects: Vec<_> = hosts
        .into_iter()
        .map(|HostStats { host, hour, day }| {
            let authorities = ["http", "https"].map(|scheme| authority(&format!("{scheme}://{host}/")));
            let now = authorities.iter().filter_map(|authority| conditions.get(authority).cloned()).map(Into::into);
            let now = is_known.then(|| now.collect());
            seen.extend(authorities);
            HostObject { host, last_hour: hour.into(), last_day: day.into(), now }
        })
        .collect();
    conditions.retain(|authority, _| !seen.contains(authority));
    objects.extend(conditions.into_values().map(|condition| {
        let none = WindowStats::default();
        let host = host(&condition.authority).to_owned();
        HostObject { host, last_hour: none.into(), last_day: none.into(), now: Some(vec![condition.into()]) }
    }));
    objects.sort_by(|a, b| a.host.cmp(&b.host));
    objects
}

/// The host of an authority, with its port where that is not the scheme's own.
fn host(authority: &str) -> &str {
    let (scheme, rest) = authority.split_once("://").unwrap_or(("", authority));
    let own = if scheme == "https" { ":443" } else { ":80" };
    rest.strip_suffix(own).unwrap_or(rest)
}

/// The last hour, minute by minute.
#[derive(Serialize, JsonSchema)]
pub(super) struct MinutesObject {
    /// Always `list`.
    object: &'static str,
    /// Sixty minutes, oldest first; the last one is not over.
    data: Vec<MinuteObject>,
    /// All of them together.
    hour: WindowObject,
    /// Whether all of that hour is in them. After a start it is read back from the log, which takes a moment.
    complete: bool,
}

/// What happened within one minute, at all destinations together.
#[derive(Serialize, JsonSchema)]
struct MinuteObject {
    /// When it began.
    at: String,
    #[serde(flatten)]
    all: WindowObject,
}

/// `GET /v1/webhooks/stats/minutes`
pub(super) async fn minutes(State(app): State<Shared>, _: Params<()>) -> Result<Json<MinutesObject>, Problem> {
    let HourStats { minutes, all, is_complete: complete } = app.handle.meter().hour(SystemClock.now());
    let minute = |(at, all): (Timestamp, WindowStats)| MinuteObject { at: at.to_string(), all: all.into() };
    let data = minutes.into_iter().map(minute).collect();
    Ok(Json(MinutesObject { object: "list", data, hour: all.into(), complete }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_and_what_happens_at_a_host_come_together() {
        let hosts = ["a.example", "a.example:443", "b.example:8080", "quiet.example"].map(|host| HostStats {
            host: host.into(),
            hour: WindowStats::default(),
            day: WindowStats { attempts: 1, ..WindowStats::default() },
        });
        let authorities =
            ["https://a.example:443", "http://b.example:8080", "https://b.example:8080", "http://new.example:80"];
        let conditions = authorities.map(|authority| Condition {
            authority: authority.into(),
            in_flight: 1,
            ready: 0,
            waiting: 0,
            slots: 32,
            failures: 0,
            paused_until: None,
        });
        let told = |conditions| {
            let told = joined(hosts.to_vec(), conditions).into_iter().map(|object| {
                let now = object.now.map(|now| now.into_iter().map(|now| now.destination).collect::<Vec<_>>());
                (object.host, object.last_day.attempts, now)
            });
            told.collect::<Vec<_>>()
        };
        let of = |places: &[usize]| Some(places.iter().map(|place| authorities[*place].to_owned()).collect());
        assert_eq!(
            told(Some(conditions.to_vec())),
            [
                ("a.example".to_owned(), 1, of(&[0])),
                ("a.example:443".to_owned(), 1, of(&[0])),
                ("b.example:8080".to_owned(), 1, of(&[1, 2])),
                ("new.example".to_owned(), 0, of(&[3])),
                ("quiet.example".to_owned(), 1, of(&[])),
            ]
        );
        assert!(told(None).len() == 4 && told(None).into_iter().all(|(_, _, now)| now.is_none()));
    }
}
