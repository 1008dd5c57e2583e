//! SIGTERM under load: everything acknowledged is there, every attempt that was begun has an end or an interruption in
//! the log, and what replays says the same.
//!
//! `HOOKLEDGER_STOPS` says how often the server is stopped under load (default 4, for CI).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver as Channel, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hookledger::clock::Stopwatch;
use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{DeliveryId, Seq};
use hookledger::domain::job::Status;
use hookledger::engine::replay::{differences, rebuild};
use hookledger::log::EventLog;
use hookledger::log::sled::SledLog;
use processes::{PATIENCE, Server, client};
use serde_json::{Value, json};

const WRITERS: usize = 16;

/// Attempts in flight at most to one destination.
const PER_DESTINATION: usize = 32;

const LETTERS: &str = "/v1/webhooks/dead-letter";

/// A receiver: `/500` fails, `/slow` takes a while, `/held` answers when it is let, `/later` fails once and is held then,
/// everything else is answered at once.
struct Receiver {
    base: String,
    /// The path of every request, when it comes.
    came: Channel<String>,
    /// Dropped, it lets what is held go.
    gate: Option<mpsc::Sender<()>>,
}

impl Receiver {
    fn start() -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let base = format!("http://{}", server.server_addr());
        let ((sender, came), (gate, held)) = (mpsc::channel(), mpsc::channel());
        let held = Arc::new(Mutex::new(held));
        thread::spawn(move || {
            let mut failed_once = false;
            for request in server.incoming_requests() {
                let path = request.url().to_owned();
                let does = match &*path {
                    "/later" if failed_once => "/held",
                    "/later" => "/500",
                    path => path,
                };
                failed_once |= path == "/later";
                let (does, held) = (does.to_owned(), Arc::clone(&held));
                let _ = sender.send(path);
                thread::spawn(move || respond(request, &does, &held));
            }
        });
        Self { base, came, gate: Some(gate) }
    }

    fn next(&self) -> String {
        self.came.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// Lets what is held go.
    fn open(&mut self) {
        drop(self.gate.take());
    }
}

fn respond(request: tiny_http::Request, does: &str, held: &Mutex<Channel<()>>) {
    let status = match does {
        "/500" => 500,
        "/slow" => {
            let (_never, slow) = mpsc::channel::<()>();
            assert_eq!(slow.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
            200
        }
        "/held" => {
            assert!(held.lock().unwrap().recv().is_err(), "the gate is opened by dropping it");
            200
        }
        _ => 200,
    };
    let _ = request.respond(tiny_http::Response::empty(status));
}

/// Registers a job with a webhook, and reports its end. Whether both were acknowledged, for as long as the server is there.
fn complete(server: &str, id: &str, hook: &str) -> [bool; 2] {
    let agent = client();
    let webhook = json!({"url": hook, "max_retries": 1});
    let registered = agent.post(format!("{server}/v1/batches")).send_json(json!({"id": id, "webhook": webhook}));
    let registered = acknowledged(registered);
    let report = || agent.patch(format!("{server}/v1/batches/{id}")).send_json(json!({"status": "completed"}));
    [registered, registered && acknowledged(report())]
}

/// Whether it was acknowledged; false when the server is gone or says that it is going.
fn acknowledged(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> bool {
    let Ok(mut answer) = answer else { return false };
    let status = answer.status();
    let Ok(body) = answer.body_mut().read_json::<Value>() else { return false };
    let stopping = status == 503 && body["error"]["code"] == "shutting_down";
    assert!(status == 200 || stopping, "{status} {body}");
    status == 200
}

#[test]
fn under_load_nothing_is_lost_and_every_attempt_has_an_end() {
    let stops =
        std::env::var("HOOKLEDGER_STOPS").map_or(4, |stops| stops.parse().expect("HOOKLEDGER_STOPS is a number"));
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let (mut registered, mut completed) = (Vec::new(), Vec::new());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for stop in 1..=stops {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A random number of acknowledgements, and then a random moment: whatever is under way at the last of them.
        let enough = 1 + (random >> 33) % 800;
        let server = Server::start(directory.path());
        let (url, count) = (server.url(""), AtomicU64::new(0));
        let (sender, reached) = mpsc::channel();
        thread::scope(|scope| {
            let write = |writer: usize| {
                let (url, hooks, count, sender) = (&url, &receiver.base, &count, sender.clone());
                scope.spawn(move || {
                    let (mut registered, mut completed) = (Vec::new(), Vec::new());
                    for n in 0.. {
                        let id = format!("job-{stop}-{writer}-{n}");
                        let hook = format!("{hooks}/{}", ["fast", "slow", "500"][(writer + n) % 3]);
                        let [known, done] = complete(url, &id, &hook);
                        registered.extend(known.then(|| id.clone()));
                        completed.extend(done.then_some(id));
                        if !done {
                            break;
                        }
                        if count.fetch_add(1, Ordering::SeqCst) + 1 == enough {
                            let _ = sender.send(());
                        }
                    }
                    (registered, completed)
                })
            };
            let writers: Vec<_> = (0..WRITERS).map(write).collect();
            reached.recv_timeout(PATIENCE).expect("so many jobs are done");
            server.signal("TERM");
            for writer in writers {
                let (known, done) = writer.join().unwrap();
                registered.extend(known);
                completed.extend(done);
            }
        });
        assert_eq!(server.exit().code(), Some(0));
        let events = check(directory.path(), &registered, &completed);
        println!("stop {stop}: after {enough} jobs, {events} events, all of them whole");
    }
}

/// Looks at the whole log as the next process finds it, and has it replayed. Gives the number of events.
fn check(directory: &Path, registered: &[String], completed: &[String]) -> u64 {
    let events = read(directory, registered, completed);
    let replay = processes::command().args(["replay", "--data-dir"]).arg(directory).output().unwrap();
    let said = String::from_utf8_lossy(&replay.stderr).into_owned();
    assert!(replay.status.success() && said.contains("equal the stored ones"), "{said}");
    events
}

fn read(directory: &Path, registered: &[String], completed: &[String]) -> u64 {
    let log = SledLog::open(directory).expect("the log opens after an end");
    let (reader, tail) = (log.reader(), log.tail());
    let state = rebuild(&*reader, tail).expect("the log is whole");
    assert_eq!(differences(&state, &*reader).unwrap().len(), 0, "rows that differ from what the log says");
    let jobs: HashMap<&str, Status> = state.jobs().map(|job| (job.id.as_str(), job.status)).collect();
    for id in registered {
        assert!(jobs.contains_key(id.as_str()), "the registration of {id} was acknowledged, and is gone");
    }
    for id in completed {
        assert_eq!(jobs[id.as_str()], Status::Completed, "the report of {id} was acknowledged, and is gone");
    }
    let events = reader.events(Seq::ZERO, usize::MAX).unwrap();
    assert_eq!(in_flight(&events), HashSet::new(), "attempts without an end");
    tail.0
}

/// The deliveries whose last attempt was begun and neither ended nor interrupted.
fn in_flight(events: &[Envelope]) -> HashSet<DeliveryId> {
    let mut begun = HashSet::new();
    for Envelope { event, .. } in events {
        match event {
            Event::AttemptStarted { delivery, .. } => assert!(begun.insert(*delivery), "one attempt at a time"),
            Event::AttemptSucceeded { delivery, .. }
            | Event::AttemptFailed { delivery, .. }
            | Event::AttemptInterrupted { delivery, .. } => assert!(begun.remove(delivery), "an end has a beginning"),
            _ => {}
        }
    }
    begun
}

fn history(server: &Server, id: &str) -> Vec<String> {
    let path = server.url(&format!("/v1/batches/{id}/history"));
    let history: Value = client().get(path).call().unwrap().body_mut().read_json().unwrap();
    history["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Waits for an event at the end of a job's history.
fn until(server: &Server, id: &str, event: &str) {
    let watch = Stopwatch::start();
    while history(server, id).last().map(String::as_str) != Some(event) {
        assert!(watch.elapsed() < PATIENCE, "{event} never came");
        thread::yield_now();
    }
}

/// Makes a dead letter of a new job. The receiver's answer is in the URL, so a retry meets it again.
fn dead_letter(server: &Server, receiver: &Receiver, id: &str, path: &str) {
    assert_eq!(complete(&server.url(""), id, &format!("{}{path}", receiver.base)), [true; 2]);
    assert_eq!(receiver.next(), path);
    until(server, id, "delivery_exhausted");
}

#[test]
fn what_is_in_flight_is_finished_and_a_retry_that_does_not_begin_any_more_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start();
    let server = Server::start(directory.path());
    dead_letter(&server, &receiver, "dead", "/500");
    dead_letter(&server, &receiver, "later", "/later");
    let retry = |letter: u32| {
        let url = server.url(&format!("{LETTERS}/{letter}/retry"));
        thread::spawn(move || {
            let mut answer = client().post(url).send_empty().expect("it is answered");
            (answer.status().as_u16(), answer.body_mut().read_json::<Value>().unwrap())
        })
    };
    // As many attempts as the destination may have at once, one of them waited for.
    let in_flight_retry = retry(2);
    assert_eq!(receiver.next(), "/later");
    for n in 1..PER_DESTINATION {
        assert_eq!(complete(&server.url(""), &format!("held-{n}"), &format!("{}/held", receiver.base)), [true; 2]);
        assert_eq!(receiver.next(), "/held");
    }
    let mut upload = begin_upload(&server);
    let late_retry = retry(1);
    until(&server, "dead", "redelivery_requested");
    server.signal("TERM");
    let (status, body) = late_retry.join().unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("shutting_down")), "{body}");
    // What was begun before the signal is taken after it, and acknowledged.
    upload.write_all(b"}").unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    receiver.open();
    let (status, body) = in_flight_retry.join().unwrap();
    assert_eq!((status, &body["retry_success"]), (200, &json!(true)), "{body}");
    assert_eq!(server.exit().code(), Some(0));
    let log = SledLog::open(directory.path()).unwrap();
    let events = log.reader().events(Seq::ZERO, usize::MAX).unwrap();
    let succeeded = events.iter().filter(|event| matches!(event.event, Event::AttemptSucceeded { .. })).count();
    assert_eq!((succeeded, in_flight(&events)), (PER_DESTINATION, HashSet::new()));
    drop(log);

    // The retry was recorded, and is made after the restart.
    let server = Server::start(directory.path());
    assert_eq!(receiver.next(), "/500");
    assert!(server.terminate().success());
    check(directory.path(), &["uploaded".into()], &[]);
}

/// Sends all of a job but its last byte, and waits until the server asks for that.
fn begin_upload(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).unwrap();
    let (head, body) =
        ("POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue", "{\"id\": \"uploaded\"");
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}", body.len() + 1);
    socket.write_all(format!("{head}\r\n{fields}\r\n\r\n").as_bytes()).unwrap();
    let mut go_on = [0; 25];
    socket.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).unwrap();
    socket
}

#[test]
fn what_does_not_end_is_interrupted_within_one_grace_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start();
    let server = Server::start(directory.path());
    dead_letter(&server, &receiver, "dead", "/500");
    assert_eq!(complete(&server.url(""), "held", &format!("{}/held", receiver.base)), [true; 2]);
    assert_eq!(receiver.next(), "/held");
    let _never_ends = begin_upload(&server);
    let watch = Stopwatch::start();
    server.signal("INT");
    assert_eq!(server.exit().code(), Some(0));
    // Requests and attempts have eight seconds together; the rest is for a machine under load.
    assert!(watch.elapsed() < Duration::from_secs(14), "{:?}", watch.elapsed());
    println!("ended after {:?}", watch.elapsed());
    check(directory.path(), &[], &["held".into()]);

    receiver.open();
    let server = Server::start(directory.path());
    assert_eq!(receiver.next(), "/held");
    until(&server, "held", "attempt_succeeded");
    let attempts: Vec<_> = history(&server, "held").into_iter().filter(|event| event.starts_with("attempt_")).collect();
    assert_eq!(attempts, ["attempt_started", "attempt_interrupted", "attempt_started", "attempt_succeeded"]);
    assert!(server.terminate().success());
}

#[test]
fn whoever_asks_twice_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start();
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let server = Server::start(directory.path());
        assert_eq!(complete(&server.url(""), first, &format!("{}/held", receiver.base)), [true; 2]);
        assert_eq!(receiver.next(), "/held");
        server.signal(first);
        server.await_line("stopping");
        server.signal(second);
        server.await_line("ended at once");
        assert_eq!(server.exit().code(), Some(1));
    }
    receiver.open();
    let server = Server::start(directory.path());
    for id in ["TERM", "INT"] {
        until(&server, id, "attempt_succeeded");
    }
    assert!(server.terminate().success());
}
