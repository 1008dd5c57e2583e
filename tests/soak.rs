//! Short jobs for a long time, with a short retention: what the store takes on disk and in memory stays flat, and so do the
//! times of what is asked meanwhile. In one process, with a transport that answers from memory.
//!
//! Run with `cargo test --release --test soak -- --ignored --nocapture`. `HOOKLEDGER_SOAK_JOBS` is the number of jobs
//! (10 million), `HOOKLEDGER_SOAK_RATE` how many a second (3,000), `HOOKLEDGER_SOAK_RETENTION` in seconds (10; 0 keeps
//! everything, for comparison), `HOOKLEDGER_SOAK_DIR` where the store is made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookledger::clock::{self, Stopwatch};
use hookledger::domain::id::JobId;
use hookledger::domain::job::{Job, JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::webhook::Webhook;
use hookledger::engine::replay::{differences, rebuild};
use hookledger::log::sled::SledLog;
use hookledger::log::{EventLog, chain};
use hookledger::runtime::{Options, Reply, Runtime};
use hookledger::transport::{Request, Transport};

/// How often it is looked: the first third of the looks is for warming up.
const LOOKS: u64 = 60;

/// Jobs of which it is not known yet that they are durable, at most.
const UNDER_WAY: usize = 512;

/// Of how many jobs it is known when they were begun.
const REMEMBERED: usize = 1 << 17;

/// How much the last third may be above the middle one.
const TOLERANCE: f64 = 1.15;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Takes every delivery at once, and notes how long after its job was begun that was.
struct Receiver {
    watch: Stopwatch,
    began: Vec<AtomicU64>,
    taken: AtomicU64,
    /// Microseconds.
    latencies: Mutex<Vec<u64>>,
}

impl Receiver {
    fn begin(&self, number: u64) {
        let now = u64::try_from(self.watch.elapsed().as_micros()).unwrap();
        self.began[usize::try_from(number).unwrap() % REMEMBERED].store(now, Ordering::Relaxed);
    }
}

impl Transport for Receiver {
    fn send(&self, request: &Request) -> Outcome {
        let number: usize = request.url.rsplit('/').next().unwrap().parse().unwrap();
        let now = u64::try_from(self.watch.elapsed().as_micros()).unwrap();
        let took = now.saturating_sub(self.began[number % REMEMBERED].load(Ordering::Relaxed));
        self.latencies.lock().unwrap().push(took);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Outcome { duration_ms: 1, result: Ok(Response { status: 200, excerpt: "ok".into(), retry_after: None }) }
    }
}

/// Clients have ids in no order.
fn id(number: u64) -> JobId {
    let mixed = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    JobId::new(&format!("batch_{:016x}", mixed ^ (mixed >> 32))).unwrap()
}

fn spec(number: u64) -> JobSpec {
    JobSpec {
        webhook: Some(Webhook::to(format!("https://r.example/{number}"))),
        metadata: [("customer".into(), (number % 97).to_string())].into(),
        report: Report { completed: Some(100), total: Some(100), ..Report::of(Status::Completed) },
        ..JobSpec::default()
    }
}

fn disk_bytes(path: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // It has gone meanwhile.
        Err(_) => 0,
    };
    fs::read_dir(path).unwrap().map(|entry| size(entry.unwrap())).sum()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).map_or(0.0, |micros| *micros as f64 / 1000.0)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn assert_flat(what: &str, looks: &[u64]) {
    let thirds: Vec<u64> = looks.chunks(looks.len() / 3).map(|third| *third.iter().max().unwrap()).collect();
    let (middle, last) = (thirds[1], thirds[2]);
    let growth = last as f64 / middle as f64;
    println!("{what}: at most {:.0} MB in the middle third, {:.0} MB in the last", megabytes(middle), megabytes(last));
    assert!(growth <= TOLERANCE, "{what} grows: by {:.0} % from one third to the next", (growth - 1.0) * 100.0);
}

#[test]
#[ignore = "takes an hour: a figure, not a promise"]
fn disk_and_memory_stay_flat() {
    let (jobs, rate) = (setting("HOOKLEDGER_SOAK_JOBS", 10_000_000), setting("HOOKLEDGER_SOAK_RATE", 3_000));
    let retention = Some(setting("HOOKLEDGER_SOAK_RETENTION", 10)).filter(|seconds| *seconds > 0);
    let place = std::env::var("HOOKLEDGER_SOAK_DIR").unwrap_or_else(|_| std::env::temp_dir().display().to_string());
    let directory = tempfile::tempdir_in(place).unwrap();
    let receiver = Arc::new(Receiver {
        watch: Stopwatch::start(),
        began: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect(),
        taken: AtomicU64::new(0),
        latencies: Mutex::default(),
    });
    let mut options = Options { workers: 16, ..Options::default() };
    options.engine.retention = retention.map(Duration::from_secs);
    let log = Box::new(SledLog::open(directory.path()).unwrap());
    let runtime = Runtime::start(log, Arc::clone(&receiver) as Arc<dyn Transport>, &options).unwrap();
    let (mut under_way, mut disk, mut memory) = (VecDeque::<Reply<Job>>::new(), Vec::new(), Vec::new());
    let mut last = Stopwatch::start();
    for number in 0..jobs {
        let intended = Duration::from_secs(1).mul_f64(number as f64 / rate as f64);
        let early = intended.saturating_sub(receiver.watch.elapsed());
        if early > Duration::from_millis(1) {
            clock::pause(early);
        }
        receiver.begin(number);
        under_way.push_back(runtime.handle().register(id(number), spec(number), None));
        while under_way.len() > UNDER_WAY {
            under_way.pop_front().unwrap().wait().unwrap();
        }
        if (number + 1) % (jobs / LOOKS).max(1) == 0 {
            let mut latencies = std::mem::take(&mut *receiver.latencies.lock().unwrap());
            latencies.sort_unstable();
            let done = (jobs / LOOKS) as f64 / last.elapsed().as_secs_f64();
            let anchor = runtime.handle().log().anchor().unwrap();
            let kept = runtime.handle().log().tail().0 - anchor.horizon.0;
            last = Stopwatch::start();
            disk.push(disk_bytes(directory.path()));
            memory.push(resident_bytes());
            println!(
                "{:>9} jobs, {done:>5.0}/s, delivered after {:>6.2} ms (p50), {:>7.2} ms (p99); {kept:>7} events; disk {:>5.0} MB, memory {:>4.0} MB",
                number + 1,
                percentile(&latencies, 50),
                percentile(&latencies, 99),
                megabytes(disk[disk.len() - 1]),
                megabytes(memory[memory.len() - 1]),
            );
        }
    }
    for reply in under_way {
        reply.wait().unwrap();
    }
    runtime.shutdown();
    assert_eq!(receiver.taken.load(Ordering::Relaxed), jobs, "every webhook was delivered, once");
    let log = SledLog::open(directory.path()).unwrap();
    let reader = log.reader();
    chain::check(&*reader).unwrap();
    let state = rebuild(&*reader, reader.tail()).unwrap();
    println!("{} jobs are left, and the views are what the log says of them", state.jobs().count());
    assert!(differences(&state, &*reader).unwrap().is_empty());
    if retention.is_some() {
        assert_flat("disk", &disk);
        assert_flat("memory", &memory);
    }
}
