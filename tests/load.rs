//! The main job under load, through HTTP, with the load generator and the receiver on the same machine: 20,000 jobs
//! registered, then reported, then delivered; then a modest load, for latency. Prints figures and asserts none of them,
//! only that every webhook arrived.
//!
//! `cargo test --release --test load -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod processes;

use std::net::SocketAddr;
use std::time::Duration;

use hookledger::clock::Stopwatch;
use processes::Server;
use processes::traffic::{Target, in_parallel, percentile, register, report, report_at};

const JOBS: usize = 20_000;

/// The modest load: reports a second, and for how long.
const RATE: usize = 200;
const SECONDS: usize = 10;

#[test]
#[ignore = "a measurement, to be run by name in a release build"]
fn twenty_thousand_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let watch = Stopwatch::start();
    let target = Target::start(watch);
    let ids: Vec<String> = (0..JOBS).map(|n| format!("load-{n}")).collect();
    let took = in_parallel(server.address, &ids, |id| register(id, &target.url));
    println!("registered: {:.0} jobs/s", rate(JOBS, took));

    let before = (cpu_seconds(server.pid()), watch.elapsed());
    let took = in_parallel(server.address, &ids, report);
    let arrived = target.await_arrivals(JOBS);
    let last = arrived.values().max().copied().unwrap().saturating_sub(before.1);
    let cpu = cpu_seconds(server.pid()) - before.0;
    println!("reported: {:.0} jobs/s; reported and delivered: {:.0} jobs/s", rate(JOBS, took), rate(JOBS, last));
    println!("CPU of the server: {:.3} s per 1,000 reported and delivered", cpu * 1000.0 / JOBS as f64);

    modest(server.address, &target, watch);
    println!("peak memory: {:.0} MB", peak_megabytes(server.pid()));
    let kilobytes = disk_bytes(directory.path()) as f64 / 1024.0;
    println!("disk: {:.1} KB a job", kilobytes / (JOBS + RATE * SECONDS) as f64);
    assert!(server.terminate().success());
}

/// Reports at fixed times, whether or not the ones before have ended; latency counts from the intended time.
fn modest(address: SocketAddr, target: &Target, watch: Stopwatch) {
    let ids: Vec<String> = (0..RATE * SECONDS).map(|n| format!("modest-{n}")).collect();
    in_parallel(address, &ids, |id| register(id, &target.url));
    let start = watch.elapsed() + Duration::from_millis(100);
    let intended = |n: usize| start + Duration::from_secs(1) * u32::try_from(n).unwrap() / u32::try_from(RATE).unwrap();
    let jobs: Vec<_> = ids.into_iter().enumerate().map(|(n, id)| (intended(n), id)).collect();
    report_at(address, &jobs, watch);
    let arrived = target.await_arrivals(jobs.len());
    let mut latencies: Vec<Duration> = jobs.iter().map(|(at, id)| arrived[id].saturating_sub(*at)).collect();
    latencies.sort_unstable();
    let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
    println!("report to delivery at {RATE}/s: p50 {p50:.2} ms, p99 {p99:.2} ms");
}

fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

/// CPU time of a process, user and system (proc(5), `stat`, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse::<f64>().unwrap()).iter().sum::<f64>() / 100.0
}

fn peak_megabytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn disk_bytes(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    let size = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => disk_bytes(&entry.path()),
        metadata => metadata.len(),
    };
    entries.map(size).sum()
}
