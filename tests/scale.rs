//! A store with a million finished jobs: how long a page of any list takes, and how much memory the server needs.
//!
//! Run with `cargo test --release --test scale -- --ignored --nocapture`. `HOOKLEDGER_JOBS` is the number of jobs, and
//! `HOOKLEDGER_STORE` a directory to keep the store in, so that it need not be made again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod processes;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hookledger::clock::Stopwatch;
use hookledger::domain::id::JobId;
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::webhook::Webhook;
use hookledger::log::sled::SledLog;
use hookledger::runtime::{Options, Runtime};
use hookledger::signature::Secret;
use hookledger::transport::{Request, Transport};
use processes::{Server, client};
use serde_json::Value;

/// Pages of each list that are timed.
const PAGES: usize = 300;

/// Takes every delivery but each hundredth one.
struct Mostly;

impl Transport for Mostly {
    fn send(&self, request: &Request) -> Outcome {
        let status = if request.url.ends_with("00") { 410 } else { 200 };
        Outcome { duration_ms: 3, result: Ok(Response { status, excerpt: "ok".into(), retry_after: None }) }
    }
}

#[test]
#[ignore = "takes minutes: a figure, not a promise"]
fn a_page_takes_the_same_time_whatever_is_stored() {
    let jobs: u64 = std::env::var("HOOKLEDGER_JOBS").map_or(1_000_000, |jobs| jobs.parse().unwrap());
    let kept = std::env::var("HOOKLEDGER_STORE").ok();
    let made = tempfile::tempdir().unwrap();
    let directory = kept.as_deref().map_or(made.path(), Path::new);
    if !directory.join("log").exists() {
        fill(directory, jobs);
    }
    let watch = Stopwatch::start();
    let server = Server::start(directory);
    println!("ready after {:.2} s, {:.0} MB resident", watch.elapsed().as_secs_f64(), resident(&server));
    let lists = [
        "/v1/batches?",
        "/v1/batches?status=completed",
        "/v1/batches?status=failed",
        "/v1/batches?status=in_progress",
        "/v1/webhooks/deliveries?",
        "/v1/webhooks/deliveries?status=delivered",
        "/v1/webhooks/deliveries?status=dead",
        "/v1/webhooks/deliveries?event=failed",
        "/v1/webhooks/deliveries?event=completed&status=dead",
    ];
    let on = |list: &str, page: &Value| match page["last_id"].as_str() {
        Some(last) if page["has_more"] == true => format!("{list}&after={last}"),
        _ => list.to_owned(),
    };
    for list in lists {
        time(&server, list, on);
    }
    let letters = [
        "/v1/webhooks/dead-letter?",
        "/v1/webhooks/dead-letter?event=completed",
        "/v1/webhooks/dead-letter?resolved=false&since=2026-01-01T00:00:00Z",
        "/v1/webhooks/dead-letter?url=https%3A%2F%2Freceiver-7.example%2Fhook%3Fjob%3D700",
    ];
    let mut offset = 0;
    for list in letters {
        time(&server, list, |list, _| {
            offset = (offset + 137) % 9_000;
            format!("{list}&offset={offset}")
        });
    }
    for list in ["/v1/log?after=900000", "/v1/webhooks/stats", "/metrics"] {
        time(&server, list, |list, _| list.to_owned());
    }
    println!("{:.0} MB resident after that", resident(&server));
    for list in lists {
        time(&server, &format!("{list}&limit=100"), on);
    }
    println!("{:.0} MB resident after pages of the largest size", resident(&server));
}

/// Fetches pages one after another, and prints how long they took.
fn time(server: &Server, list: &str, mut next: impl FnMut(&str, &Value) -> String) {
    let agent = client();
    let (mut times, mut path) = (Vec::new(), list.to_owned());
    for _ in 0..PAGES {
        let watch = Stopwatch::start();
        let text = agent.get(server.url(&path)).call().unwrap().body_mut().read_to_string().unwrap();
        times.push(watch.elapsed());
        path = next(list, &serde_json::from_str(&text).unwrap_or_default());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("p50 {:6.2} ms, p99 {:6.2} ms, most {:6.2} ms  {list}", at(50), at(99), at(100));
}

fn resident(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Jobs that are registered when they are done, each with a webhook, to one of a hundred receivers.
fn fill(directory: &Path, jobs: u64) {
    let watch = Stopwatch::start();
    let log = SledLog::open(directory).unwrap();
    let runtime = Runtime::start(Box::new(log), Arc::new(Mostly), &Options::default()).unwrap();
    let mut under_way = VecDeque::new();
    for n in 0..jobs {
        let url = format!("https://receiver-{}.example/hook?job={n}", n % 100);
        let status = if n % 50 == 7 { Status::Failed } else { Status::Completed };
        let spec = JobSpec {
            webhook: Some(Webhook::to(url)),
            metadata: [("customer".into(), format!("customer-{}", n % 1000))].into(),
            report: Report { completed: Some(7), output_file_id: Some("file-1".into()), ..Report::of(status) },
            ..JobSpec::default()
        };
        let secret = Secret::new("scale-scale-scale-scale-scale").unwrap();
        under_way.push_back(runtime.handle().register(JobId::new(&format!("job-{n}")).unwrap(), spec, Some(secret)));
        if under_way.len() == 512 {
            under_way.pop_front().unwrap().wait().unwrap();
        }
    }
    for reply in under_way {
        reply.wait().unwrap();
    }
    while runtime.handle().views().totals().unwrap().jobs.iter().sum::<u64>() < jobs
        || !runtime.handle().views().active_deliveries().unwrap().is_empty()
    {
        hookledger::clock::pause(Duration::from_millis(100));
    }
    runtime.shutdown();
    let took = watch.elapsed().as_secs_f64();
    let bytes = size(directory);
    println!(
        "{jobs} jobs with a webhook each in {took:.0} s ({:.0}/s), {:.0} MB: {:.2} KB a job",
        jobs as f64 / took,
        bytes as f64 / 1e6,
        bytes as f64 / jobs as f64 / 1000.0
    );
}

fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    let of = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => size(&entry.path()),
        metadata => metadata.len(),
    };
    entries.map(of).sum()
}
