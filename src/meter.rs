//! What is counted and measured: in Prometheus' text form, and as statistics of each destination.
//!
//! Counters begin with the process, as Prometheus expects. The statistics are made from the log and can be made from it
//! again, so they outlive it.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::domain::id::Seq;
use crate::domain::job::Status;
use crate::domain::observation::{Observation, Observed};
use crate::domain::outcome::{Outcome, is_success};
use crate::domain::state::Totals;
use crate::domain::time::Timestamp;

mod latencies;
mod stats;

pub use stats::{HostStats, HourStats, REACH, Stats, WindowStats};

/// From a quarter of a millisecond, which a sync takes on a good disk, to a minute.
const COMMIT_SECONDS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// From a receiver next door to the longest timeout.
const ATTEMPT_SECONDS: [f64; 14] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 100.0, 300.0];

/// From at once to the end of a long backoff.
const LATENCY_SECONDS: [f64; 15] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 86_400.0];

/// Events in one commit.
const COMMIT_EVENTS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0];

/// Counts and measures. Any thread may have it.
pub struct Meter {
    registry: Registry,
    jobs: IntGaugeVec,
    dead_letters: IntGauge,
    log_head: IntGauge,
    log_horizon: IntGauge,
    jobs_pruned: IntCounter,
    events_appended: IntCounter,
    commit_duration: Histogram,
    commit_events: Histogram,
    attempts: IntCounterVec,
    attempt_duration: Histogram,
    deliveries: IntCounterVec,
    delivery_latency: Histogram,
    queue_depth: IntGaugeVec,
    oldest_due: Gauge,
    http_requests: IntCounterVec,
    /// Since when the oldest delivery that is ready has been due.
    oldest_ready: Mutex<Option<Timestamp>>,
    stats: Mutex<Stats>,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// A meter at which nothing was counted yet.
    ///
    /// # Panics
    /// Never: every name is a constant, each is registered once, and a test does it.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let vec = |name: &str, help: &str, label: &str| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), &[label]))
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            registered(&registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
        };
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        let build = vec("hookledger_build_info", "Always 1; the version is in the label.", "version");
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            jobs: vec("hookledger_jobs", "Jobs by their status.", "status"),
            dead_letters: gauge("hookledger_dead_letters", "Dead letters, the deleted ones left out."),
            log_head: gauge("hookledger_log_head", "The position of the newest durable event."),
            log_horizon: gauge("hookledger_log_horizon", "The position up to which the log was given up."),
            jobs_pruned: registered(
                &registry,
                IntCounter::new("hookledger_jobs_pruned_total", "Jobs that were pruned, their retention over."),
            ),
            events_appended: registered(
                &registry,
                IntCounter::new("hookledger_events_appended_total", "Events that were appended to the log."),
            ),
            commit_duration: histogram(
                "hookledger_commit_duration_seconds",
                "How long a commit took, until it was durable.",
                &COMMIT_SECONDS,
            ),
            commit_events: histogram("hookledger_commit_events", "Events in one commit.", &COMMIT_EVENTS),
            attempts: counters("hookledger_attempts_total", "Attempts that ended, by what came of them.", &["outcome"]),
            attempt_duration: histogram(
                "hookledger_attempt_duration_seconds",
                "How long an attempt took, from the name's look-up to the end of the response.",
                &ATTEMPT_SECONDS,
            ),
            deliveries: counters(
                "hookledger_deliveries_total",
                "Deliveries that came to an end, by which one.",
                &["outcome"],
            ),
            delivery_latency: histogram(
                "hookledger_delivery_latency_seconds",
                "From the report of a job's change to the receiver's answer that it has its webhook.",
                &LATENCY_SECONDS,
            ),
            queue_depth: vec("hookledger_queue_depth", "What waits, by where it does.", "queue"),
            oldest_due: registered(
                &registry,
                Gauge::new("hookledger_oldest_due_seconds", "How late the delivery is that has been due the longest."),
            ),
            http_requests: counters(
                "hookledger_http_requests_total",
                "Requests that were answered, by method and status.",
                &["method", "status"],
            ),
            oldest_ready: Mutex::new(None),
            stats: Mutex::new(Stats::default()),
            registry,
        }
    }

    /// A commit of `events` events took so long.
    pub fn committed(&self, events: usize, took: Duration) {
        self.events_appended.inc_by(events as u64);
        self.commit_events.observe(count(events as u64));
        self.commit_duration.observe(took.as_secs_f64());
    }

    /// An attempt has ended.
    pub fn attempted(&self, outcome: &Outcome) {
        self.attempts.with_label_values(&[label(outcome)]).inc();
        self.attempt_duration.observe(f64::from(outcome.duration_ms) / 1000.0);
    }

    /// Something was recorded of a destination, now.
    pub fn observed(&self, observations: &[Observation]) {
        for Observation { what, .. } in observations {
            let outcome = match what {
                Observed::Attempt { .. } => continue,
                Observed::Delivered { after } => {
                    if let Some(after) = after {
                        self.delivery_latency.observe(after.as_secs_f64());
                    }
                    "delivered"
                }
                Observed::Dead => "dead",
                Observed::Superseded => "superseded",
            };
            self.deliveries.with_label_values(&[outcome]).inc();
        }
        self.recall(observations);
    }

    /// Something was recorded of a destination, perhaps by an earlier process: for the statistics alone.
    pub fn recall(&self, observations: &[Observation]) {
        if observations.is_empty() {
            return;
        }
        let mut stats = self.stats.lock();
        for observation in observations {
            stats.observe(observation);
        }
    }

    /// The statistics know all of the last day, or as much of it as was to be read.
    pub fn recalled(&self) {
        self.stats.lock().complete();
    }

    /// How things stand after a step of the engine.
    pub fn stands(&self, totals: &Totals, horizon: Seq, head: Seq) {
        for (status, jobs) in Status::ALL.into_iter().zip(totals.jobs) {
            self.jobs.with_label_values(&[status.as_str()]).set(signed(jobs));
        }
        self.dead_letters.set(signed(totals.dead_letters));
        self.log_horizon.set(signed(horizon.0));
        self.log_head.set(signed(head.0));
    }

    /// So many jobs were pruned.
    pub fn pruned(&self, jobs: usize) {
        self.jobs_pruned.inc_by(jobs as u64);
    }

    /// What waits where, and since when the oldest delivery that is ready has been due.
    pub fn waits(&self, queues: [(&str, usize); 4], oldest_ready: Option<Timestamp>) {
        for (queue, depth) in queues {
            self.queue_depth.with_label_values(&[queue]).set(signed(depth as u64));
        }
        *self.oldest_ready.lock() = oldest_ready;
    }

    /// A request was answered. `method` is one of those that the API knows, or `other`.
    pub fn answered(&self, method: &str, status: &str) {
        self.http_requests.with_label_values(&[method, status]).inc();
    }

    /// Everything in Prometheus' text form, version 0.0.4.
    ///
    /// # Errors
    /// When a metric can't be written.
    pub fn text(&self, now: Timestamp) -> Result<String, prometheus::Error> {
        let late = self.oldest_ready.lock().map_or(Duration::ZERO, |since| now.since(since));
        self.oldest_due.set(late.as_secs_f64());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The statistics of every destination at `now`, by host.
    #[must_use]
    pub fn stats(&self, now: Timestamp) -> (Vec<HostStats>, bool) {
        let (names, is_complete) = {
            let stats = self.stats.lock();
            (stats.names(), stats.is_complete())
        };
        // One after another: the engine's thread, which counts, waits for one of them at most.
        let hosts = names.iter().filter_map(|name| self.stats.lock().host(name, now));
        (hosts.collect(), is_complete)
    }

    /// The hour before `now`, at all destinations together.
    #[must_use]
    pub fn hour(&self, now: Timestamp) -> HourStats {
        self.stats.lock().hour(now)
    }
}

#[expect(clippy::expect_used, reason = "documented invariant: names are constants")]
fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let metric = made.expect("a constant name and constant labels");
    registry.register(Box::new(metric.clone())).expect("every name is registered once");
    metric
}

/// What came of an attempt: `succeeded`, the class of an HTTP status, or the stage that failed.
fn label(outcome: &Outcome) -> &'static str {
    match &outcome.result {
        Ok(response) if is_success(response.status) => "succeeded",
        Ok(response) => match response.status / 100 {
            1 => "http_1xx",
            3 => "http_3xx",
            4 => "http_4xx",
            5 => "http_5xx",
            _ => "http_other",
        },
        Err(failure) => failure.kind.as_str(),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "no count here is near 2^52")]
const fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Failure, FailureKind, Response};

    #[test]
    fn everything_has_a_line() {
        let meter = Meter::new();
        let answer = |status| Outcome {
            duration_ms: 3,
            result: Ok(Response { status, excerpt: String::new(), retry_after: None }),
        };
        meter.committed(7, Duration::from_millis(2));
        meter.attempted(&answer(204));
        meter.attempted(&answer(503));
        let failure = Failure { kind: FailureKind::Timeout, detail: String::new() };
        meter.attempted(&Outcome { duration_ms: 1, result: Err(failure) });
        let observation = |what| Observation { at: Timestamp::default(), host: "a.example".into(), what };
        meter.observed(&[
            observation(Observed::Delivered { after: Some(Duration::from_millis(4)) }),
            observation(Observed::Dead),
        ]);
        meter.stands(
            &Totals { last_dead_letter: 9, dead_letters: 2, jobs: [1, 0, 0, 5, 0, 0, 0, 0] },
            Seq(12),
            Seq(44),
        );
        meter.pruned(6);
        let queues = [("commands", 3), ("waiting", 1), ("ready", 2), ("in_flight", 0)];
        meter.waits(queues, Some(Timestamp::from_millis(1_000)));
        meter.answered("GET", "200");
        let text = meter.text(Timestamp::from_millis(3_500)).unwrap();
        for line in [
            "hookledger_jobs{status=\"completed\"} 5",
            "hookledger_dead_letters 2",
            "hookledger_log_head 44",
            "hookledger_log_horizon 12",
            "hookledger_jobs_pruned_total 6",
            "hookledger_events_appended_total 7",
            "hookledger_commit_duration_seconds_bucket{le=\"0.0025\"} 1",
            "hookledger_commit_events_sum 7",
            "hookledger_attempts_total{outcome=\"succeeded\"} 1",
            "hookledger_attempts_total{outcome=\"http_5xx\"} 1",
            "hookledger_attempts_total{outcome=\"timeout\"} 1",
            "hookledger_attempt_duration_seconds_count 3",
            "hookledger_deliveries_total{outcome=\"dead\"} 1",
            "hookledger_delivery_latency_seconds_count 1",
            "hookledger_queue_depth{queue=\"commands\"} 3",
            "hookledger_oldest_due_seconds 2.5",
            "hookledger_http_requests_total{method=\"GET\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is missing in\n{text}");
        }
    }
}
