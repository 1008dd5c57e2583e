//! A receiver that is well, beside one that is dead and one that hangs: what it gets, it gets as if it were alone.
//!
//! `cargo test --release --test fairness -- --ignored --nocapture` prints figures, of a run alone and a run beside, in turn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod processes;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use hookledger::clock::Stopwatch;
use processes::traffic::{Target, in_parallel, percentile, register, report_at};
use processes::{Server, client, closed_port};
use serde_json::Value;

/// Reports that come at random times, so many a second on average: what comes together in life comes together here.
fn at_random(name: &str, per_second: u32, seconds: u32, start: Duration) -> Vec<(Duration, String)> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(byte)) << 1 | 1);
    let mut at = start;
    let next = |n: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let uniform = ((state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        at += Duration::from_secs_f64(-uniform.ln() / f64::from(per_second));
        (at, format!("{name}-{n}"))
    };
    (0..per_second * seconds).map(next).collect()
}

/// Who gets deliveries beside the healthy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nobody,
    /// A dead one and one that hangs.
    Failing,
    /// Two that are well: what the load alone costs.
    Healthy,
}

/// The server, its receivers, and what it is to deliver.
struct Scene {
    server: Server,
    watch: Stopwatch,
    healthy: Target,
    hanging: Target,
    dead_port: u16,
    jobs: BTreeMap<&'static str, Vec<(Duration, String)>>,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn start(beside: Beside, seconds: u32, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start_with(directory.path(), settings);
        let watch = Stopwatch::start();
        let (healthy, hanging) = (Target::start(watch), Target::hanging(watch));
        if beside == Beside::Healthy {
            hanging.come_to_life();
        }
        let dead_port = closed_port();
        let dead = format!("http://127.0.0.1:{dead_port}/hook");
        let mut jobs = BTreeMap::new();
        let mut plan = |name: &'static str, url: &str, per_second| {
            let planned = at_random(name, per_second, seconds, Duration::ZERO);
            let ids: Vec<String> = planned.iter().map(|(_, id)| id.clone()).collect();
            in_parallel(server.address, &ids, |id| register(id, url));
            jobs.insert(name, planned);
        };
        plan("healthy", &healthy.url, 100);
        if beside != Beside::Nobody {
            plan("hanging", &hanging.url, 50);
            plan("dead", if beside == Beside::Failing { &dead } else { &hanging.url }, 50);
        }
        let start = watch.elapsed() + Duration::from_millis(200);
        jobs.values_mut().flatten().for_each(|(at, _)| *at += start);
        Self { server, watch, healthy, hanging, dead_port, jobs, _directory: directory }
    }

    /// Reports everything at its time.
    fn play(&self) {
        let (address, watch) = (self.server.address, self.watch);
        thread::scope(|scope| {
            for jobs in self.jobs.values() {
                scope.spawn(|| report_at(address, jobs, watch));
            }
        });
    }

    /// How long after the intended time of its report each of the healthy one's deliveries arrived, the shortest first.
    fn latencies(&self) -> Vec<Duration> {
        let jobs = &self.jobs["healthy"];
        let arrived = self.healthy.await_arrivals(jobs.len());
        let mut latencies: Vec<_> = jobs.iter().map(|(at, id)| arrived[id].saturating_sub(*at)).collect();
        latencies.sort_unstable();
        latencies
    }

    fn get(&self, path: &str) -> Value {
        let text = client().get(self.server.url(path)).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// When attempts at the jobs of that name began, in seconds after the first of them: from the log.
    fn attempts(&self, name: &str) -> Vec<f64> {
        let (mut after, mut began) = (0, Vec::new());
        loop {
            let page = self.get(&format!("/v1/log?after={after}&limit=1000"));
            let events = page["data"].as_array().unwrap();
            let of = |event: &&Value| event["batch_id"].as_str().unwrap().starts_with(name);
            let started = events.iter().filter(|event| event["type"] == "attempt_started").filter(of);
            began.extend(started.map(|event| {
                let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
                at.as_millisecond()
            }));
            match events.last() {
                Some(last) => after = last["seq"].as_u64().unwrap(),
                None => break,
            }
        }
        let first = began.first().copied().unwrap_or_default();
        began.iter().map(|at| (at - first) as f64 / 1000.0).collect()
    }

    /// Both come back to life, and get everything that waits for them, each once or more; nothing was given up.
    fn revive(&self) {
        self.hanging.come_to_life();
        let listener = TcpListener::bind(("127.0.0.1", self.dead_port)).unwrap();
        let revived = Target::on(listener, self.watch, false);
        for (target, name) in [(&self.hanging, "hanging"), (&revived, "dead")] {
            let arrived = target.await_arrivals(self.jobs[name].len());
            assert!(self.jobs[name].iter().all(|(_, id)| arrived.contains_key(id)));
        }
        assert_eq!(self.get("/v1/webhooks/dead-letter")["total"], 0, "what waited has used up no attempt");
    }
}

/// No times are asserted: only what arrives, and what does not.
#[test]
fn the_healthy_one_gets_its_own_while_others_fail_and_they_get_theirs_once_they_live() {
    let settings = [
        ("HOOKLEDGER_MAX_RETRIES", "10"),
        ("HOOKLEDGER_TIMEOUT", "5s"),
        ("HOOKLEDGER_LONGEST_PAUSE", "1s"),
        ("HOOKLEDGER_PER_DESTINATION", "8"),
    ];
    let scene = Scene::start(Beside::Failing, 1, &settings);
    scene.play();
    scene.latencies();
    assert!(!scene.hanging.has_more(), "it has answered nothing");
    let (_, most) = scene.hanging.open();
    assert!((1..=8).contains(&most), "{most} in flight");
    scene.revive();
    let (_, most) = scene.hanging.open();
    assert!(most <= 8, "{most} in flight");
    let pending = scene.get("/v1/webhooks/deliveries?status=pending");
    assert_eq!(pending["data"].as_array().map(Vec::len), Some(0));
}

/// Seconds of one run, and runs of each kind, unless `HOOKLEDGER_RUNS` says otherwise: short ones in turn, so that what else
/// the machine does is the same for all.
const SECONDS: u32 = 15;
const RUNS: usize = 5;

#[test]
#[ignore = "a measurement, to be run by name in a release build on a quiet machine"]
fn figures() {
    let kinds = [("alone", Beside::Nobody), ("beside failing", Beside::Failing), ("beside healthy", Beside::Healthy)];
    let mut runs: BTreeMap<&str, Vec<[f64; 4]>> = BTreeMap::new();
    let wanted = std::env::var("HOOKLEDGER_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    for run in 1..=wanted {
        for (name, beside) in kinds {
            let figures = measure(beside);
            println!("{run}, {name}: {}", shown(figures));
            runs.entry(name).or_default().push(figures);
        }
    }
    let medians: BTreeMap<&str, [f64; 4]> = runs.into_iter().map(|(name, runs)| (name, median(&runs))).collect();
    for (name, figures) in &medians {
        println!("median, {name}: {}", shown(*figures));
    }
    for other in ["alone", "beside healthy"] {
        let ratio = |which: usize| medians["beside failing"][which] / medians[other][which];
        let [p50, p90, p99, max] = [0, 1, 2, 3].map(ratio);
        println!("beside failing to {other}: p50 {p50:.2}, p90 {p90:.2}, p99 {p99:.2}, max {max:.2}");
    }
}

/// One run: p50, p90, p99 and the maximum of the healthy one's latencies.
fn measure(beside: Beside) -> [f64; 4] {
    let settings =
        [("HOOKLEDGER_MAX_RETRIES", "10"), ("HOOKLEDGER_TIMEOUT", "5s"), ("HOOKLEDGER_LONGEST_PAUSE", "10s")];
    let scene = Scene::start(beside, SECONDS, &settings);
    let before = ticks();
    scene.play();
    let after = ticks();
    let busy = 100.0 * (after.0 - before.0) / (after.1 - before.1);
    let (threads, memory) = (scene.server.threads(), scene.server.memory());
    let latencies = scene.latencies();
    let (threads, memory) = (threads.unwrap_or_default(), memory.unwrap_or_default());
    println!(
        "    {threads} threads, {memory} KiB; the machine was busy for {busy:.0} % of the time, with all that it did"
    );
    if beside == Beside::Failing {
        for name in ["hanging", "dead"] {
            let began = scene.attempts(name);
            let newest: Vec<_> = began.iter().rev().take(8).rev().map(|at| format!("{at:.1}")).collect();
            println!("    {name}: {} attempts, the last at {} s", began.len(), newest.join(", "));
        }
        println!("    at most {} in flight to the hanging one", scene.hanging.open().1);
        scene.revive();
        println!("    both live again, and got everything");
    }
    [50, 90, 99, 100].map(|percent| percentile(&latencies, percent))
}

/// The machine's time, busy and all, as far as it tells (proc(5), `stat`).
fn ticks() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let fields: Vec<f64> = fields.filter_map(|ticks| ticks.parse().ok()).collect();
    let (all, idle) = (fields.iter().sum::<f64>(), fields.iter().skip(3).take(2).sum::<f64>());
    (all - idle, all)
}

fn median(runs: &[[f64; 4]]) -> [f64; 4] {
    std::array::from_fn(|which| {
        let mut figures: Vec<f64> = runs.iter().map(|run| run[which]).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures[figures.len() / 2]
    })
}

fn shown([p50, p90, p99, max]: [f64; 4]) -> String {
    format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")
}
