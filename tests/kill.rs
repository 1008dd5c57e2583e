//! `kill -9` of the server at random moments under the load of 32 writers.
//!
//! After each kill: every acknowledged write is in the log, in order and without gaps, and the views that a replay
//! rebuilds equal the stored ones. At the end: every job's webhook has arrived at least once, verified.
//!
//! `HOOKLEDGER_KILLS` says how often (default 5, for CI).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use hookledger::domain::event::Event;
use hookledger::domain::id::Seq;
use hookledger::domain::job::Status;
use hookledger::engine::replay::{differences, rebuild};
use hookledger::log::EventLog;
use hookledger::log::sled::SledLog;
use processes::{PATIENCE, Receiver, Server, client};
use serde_json::json;

const WRITERS: usize = 32;
const SECRET: &str = "whsec_a2lsbC1raWxsLWtpbGwta2lsbC1raWxsLWtpbGw=";

/// How far a writer has come: it registers its next job, then reports its end, again and again.
#[derive(Clone, Default)]
struct Writer {
    name: usize,
    next: usize,
    /// Acknowledged registrations and reports.
    registered: Vec<String>,
    completed: Vec<String>,
}

impl Writer {
    /// Writes until the server is gone. What was not acknowledged is asked for again by the next call: the same id and
    /// body is the same job, and a report that already holds is no news.
    fn write(&mut self, base: &str, hook: &str, acknowledged: &AtomicU64, enough: &(u64, mpsc::Sender<()>)) {
        let agent = client();
        let acknowledge = || {
            if acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == enough.0 {
                let _ = enough.1.send(());
            }
        };
        loop {
            let id = format!("job-{}-{}", self.name, self.next);
            if self.registered.len() == self.next {
                let body = json!({"id": id, "webhook": {"url": hook, "secret": SECRET, "max_retries": 10}});
                if !acknowledged_by(agent.post(format!("{base}/v1/batches")).send_json(body)) {
                    return;
                }
                self.registered.push(id.clone());
                acknowledge();
            }
            let body = json!({"status": "completed", "request_counts": {"completed": self.next}});
            if !acknowledged_by(agent.patch(format!("{base}/v1/batches/{id}")).send_json(body)) {
                return;
            }
            self.completed.push(id);
            self.next += 1;
            acknowledge();
        }
    }
}

/// Whether a write was acknowledged; false when the server is gone. Any other answer is a fault.
fn acknowledged_by(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> bool {
    let Ok(mut answer) = answer else { return false };
    let status = answer.status();
    let Ok(body) = answer.body_mut().read_to_string() else { return false };
    assert_eq!(status, 200, "{body}");
    true
}

#[test]
fn nothing_acknowledged_is_lost_and_every_webhook_arrives() {
    let kills =
        std::env::var("HOOKLEDGER_KILLS").map_or(5, |kills| kills.parse().expect("HOOKLEDGER_KILLS is a number"));
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(SECRET);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|name| Writer { name, ..Writer::default() }).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 1..=kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A random number of acknowledgements, and then a random moment: whatever is under way at the last of them.
        let enough = 1 + (random >> 33) % 3000;
        write_until_killed(Server::start(directory.path()), &receiver, &mut writers, enough);
        let events = check_log(directory.path(), &writers);
        println!("kill {kill}: after {enough} acknowledgements, {events} events, nothing lost");
    }
    let server = Server::start(directory.path());
    let arrived = await_webhooks(&receiver, &writers);
    assert!(server.terminate().success(), "SIGTERM ends it with exit code 0");
    let replay = processes::command().args(["replay", "--data-dir"]).arg(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&replay.stderr).into_owned();
    assert!(replay.status.success() && said.contains("equal the stored ones"), "{said}");
    println!("{arrived}");
}

fn write_until_killed(server: Server, receiver: &Receiver, writers: &mut [Writer], enough: u64) {
    let (base, acknowledged, killed) = (server.url(""), AtomicU64::new(0), AtomicBool::new(false));
    let (sender, reached) = mpsc::channel();
    thread::scope(|scope| {
        for writer in writers {
            let (base, hook, acknowledged, killed) = (&base, &receiver.url, &acknowledged, &killed);
            let enough = (enough, sender.clone());
            scope.spawn(move || {
                writer.write(base, hook, acknowledged, &enough);
                assert!(killed.load(Ordering::SeqCst), "the server ended before it was killed");
            });
        }
        reached.recv_timeout(PATIENCE).expect("so many writes are acknowledged");
        killed.store(true, Ordering::SeqCst);
        server.kill();
    });
}

/// Reads the whole log as the next process finds it. Gives the number of events.
fn check_log(directory: &Path, writers: &[Writer]) -> u64 {
    let log = SledLog::open(directory).expect("the log opens after a kill");
    let (reader, tail) = (log.reader(), log.tail());
    // Reading fails on a gap, and rebuilding on an event that does not follow from those before it.
    let state = rebuild(&*reader, tail).expect("the log is whole");
    let different = differences(&state, &*reader).unwrap();
    assert!(different.is_empty(), "{} rows differ from what the log says", different.len());
    let jobs: HashMap<&str, Status> = state.jobs().map(|job| (job.id.as_str(), job.status)).collect();
    for writer in writers {
        for id in &writer.registered {
            assert!(jobs.contains_key(id.as_str()), "the registration of {id} was acknowledged, and is gone");
        }
        for id in &writer.completed {
            assert_eq!(jobs[id.as_str()], Status::Completed, "the report of {id} was acknowledged, and is gone");
        }
        assert_in_order(&*reader, tail, writer.name);
    }
    tail.0
}

/// A writer waits for each acknowledgement before its next write, so its jobs stand in the log in its order.
fn assert_in_order(reader: &dyn hookledger::log::LogReader, tail: Seq, writer: usize) {
    let prefix = format!("job-{writer}-");
    let mut next = 0;
    let mut after = Seq::ZERO;
    while after < tail {
        for event in reader.events(after, 8192).unwrap() {
            after = event.seq;
            let number = event.job.as_str().strip_prefix(&prefix).map(|number| number.parse::<usize>().unwrap());
            if let (Some(number), Event::JobRegistered { .. }) = (number, &event.event) {
                assert_eq!(number, next, "position {}", event.seq);
                next += 1;
            }
        }
    }
}

fn await_webhooks(receiver: &Receiver, writers: &[Writer]) -> String {
    let mut missing: HashSet<String> = writers.iter().flat_map(|writer| writer.completed.clone()).collect();
    let jobs = missing.len();
    let mut bodies: HashMap<String, Vec<u8>> = HashMap::new();
    let mut requests = 0;
    while !missing.is_empty() {
        let got = receiver.got.recv_timeout(PATIENCE);
        let got =
            got.unwrap_or_else(|_| panic!("{} webhooks never arrived: {:?}…", missing.len(), missing.iter().next()));
        assert_eq!(got.verified, Ok(()), "every request verifies");
        missing.remove(&got.job());
        requests += 1;
        let known = bodies.entry(got.headers["webhook-id"].clone()).or_insert_with(|| got.body.clone());
        assert_eq!(*known, got.body, "a repeated delivery has the same bytes");
    }
    format!("{jobs} webhooks arrived, {} deliveries in {requests} requests", bodies.len())
}
