//! `hookledger log stats`: a running server in figures.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::Failed;
use crate::cli::client::read;
use crate::cli::output::{Output, style_of, styled};
use crate::cli::remote::Remote;
use crate::cli::table::{Cell, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = "Counters begin with the server's process; GET /metrics has all of them.")]
pub(in crate::cli) struct Args {
    /// Print one object: what is below, and the destinations as the API has them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize)]
struct Stats {
    data: Vec<Box<RawValue>>,
    complete: bool,
}

#[derive(Deserialize)]
struct HostView {
    host: String,
    last_hour: WindowView,
    last_day: WindowView,
}

#[derive(Deserialize)]
struct WindowView {
    deliveries: u64,
    success_rate: Option<f64>,
    attempts: u64,
    latency_ms: LatencyView,
}

#[derive(Deserialize)]
struct LatencyView {
    p50: Option<u64>,
    p99: Option<u64>,
}

pub(super) fn run(Args { json, remote }: Args) -> Result<(), Failed> {
    let (client, mut out) = (remote.client()?, Output::new());
    let metrics = Metrics::read(&client.text("/metrics")?);
    let stats: Stats = read(&client.get("/v1/webhooks/stats", &[])?)?;
    if json {
        return out.json(&json!({
            "head": metrics.value("hookledger_log_head"),
            "jobs": metrics.by("hookledger_jobs"),
            "dead_letters": metrics.value("hookledger_dead_letters"),
            "queues": metrics.by("hookledger_queue_depth"),
            "oldest_due_seconds": metrics.number("hookledger_oldest_due_seconds"),
            "events_appended": metrics.value("hookledger_events_appended_total"),
            "commits": metrics.value("hookledger_commit_duration_seconds_count"),
            "attempts": metrics.by("hookledger_attempts_total"),
            "destinations": stats.data,
            "complete": stats.complete,
        }));
    }
    figures(&mut out, &metrics)?;
    destinations(&mut out, &stats)
}

fn figures(out: &mut Output, metrics: &Metrics) -> Result<(), Failed> {
    let counts = |name: &str| {
        let counted = metrics.by(name).into_iter().filter(|(_, count)| *count > 0);
        counted
            .map(|(label, count)| format!("{count} {}", styled(label, style_of(label))))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let commits = metrics.number("hookledger_commit_duration_seconds_count");
    let took = metrics.number("hookledger_commit_duration_seconds_sum");
    let mean = if commits > 0.0 { format!(", {:.1} ms each", took / commits * 1000.0) } else { String::new() };
    let events = metrics.value("hookledger_events_appended_total");
    out.pairs(&[
        ("log", format!("position {}", metrics.value("hookledger_log_head"))),
        ("jobs", or_none(counts("hookledger_jobs"))),
        ("dead letters", metrics.value("hookledger_dead_letters").to_string()),
        ("queues", or_none(counts("hookledger_queue_depth"))),
        ("oldest due", format!("{:.1} s", metrics.number("hookledger_oldest_due_seconds"))),
        ("since start", format!("{events} events in {commits} commits{mean}")),
        ("attempts", or_none(counts("hookledger_attempts_total"))),
    ])
}

fn destinations(out: &mut Output, stats: &Stats) -> Result<(), Failed> {
    let hosts: Vec<HostView> = stats.data.iter().map(|host| read(host)).collect::<Result<_, _>>()?;
    if hosts.is_empty() {
        return Ok(());
    }
    let row = |host: &HostView, span: &str, window: &WindowView| {
        let rate = window.success_rate.map_or("-".into(), |rate| format!("{:.1} %", rate * 100.0));
        let millis = |latency: Option<u64>| latency.map_or("-".into(), |millis| format!("{millis} ms"));
        [
            Cell::from(&host.host),
            Cell::from(span),
            Cell::from(window.deliveries.to_string()),
            Cell::from(rate),
            Cell::from(window.attempts.to_string()),
            Cell::from(millis(window.latency_ms.p50)),
            Cell::from(millis(window.latency_ms.p99)),
        ]
    };
    let rows = |host: &HostView| [row(host, "hour", &host.last_hour), row(host, "day", &host.last_day)];
    out.line("")?;
    let rows: Vec<_> = hosts.iter().flat_map(rows).collect();
    Table::new(&["DESTINATION…", "LAST", "DELIVERIES", "DELIVERED", "ATTEMPTS", "P50", "P99"]).print(out, &rows)?;
    if !stats.complete {
        anstream::eprintln!("the last day is still being read back from the log: there may be more");
    }
    Ok(())
}

/// Metrics in Prometheus' text form, as far as they are looked at here: `name{label="value"} number`.
struct Metrics(Vec<(String, f64)>);

impl Metrics {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let read =
            |line: &str| line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        Self(lines.filter_map(read).collect())
    }

    fn number(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
    }

    fn value(&self, name: &str) -> u64 {
        whole(self.number(name))
    }

    /// A metric with one label, by that.
    fn by(&self, name: &str) -> BTreeMap<&str, u64> {
        self.0.iter().filter_map(|(known, value)| Some((label(known, name)?, whole(*value)))).collect()
    }
}

/// The value of the one label of metric `name`.
fn label<'a>(known: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = known.strip_prefix(name)?.strip_prefix('{')?.strip_suffix("\"}")?.split_once("=\"")?;
    Some(value)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole and not negative")]
fn whole(number: f64) -> u64 {
    number as u64
}
