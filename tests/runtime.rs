//! The running engine: threads, replies, shutdown. The transport is scripted; nothing here waits for a time to pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use hookledger::domain::delivery::DeliveryState;
use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{DeadLetterId, JobId, Seq};
use hookledger::domain::job::{Job, JobSpec, Report, Status, WebhookStatus};
use hookledger::domain::outcome::{Failure, FailureKind, Outcome, Response};
use hookledger::domain::webhook::Webhook;
use hookledger::log::EventLog;
use hookledger::log::memory::{Fault, MemoryLog};
use hookledger::log::sled::SledLog;
use hookledger::runtime::{Error, Handle, Options, Runtime};
use hookledger::signature::Secret;
use hookledger::transport::{Request, Transport};
use parking_lot::Mutex;

/// The bound on everything that has to happen; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A transport whose every answer is given by the test.
struct Scripted {
    requests: Sender<Request>,
    answers: Mutex<Receiver<Answer>>,
    interrupted: Sender<Answer>,
}

enum Answer {
    Status(u16),
    Panic,
    Interrupted,
}

struct Script {
    requests: Receiver<Request>,
    answers: Sender<Answer>,
}

fn scripted() -> (Arc<Scripted>, Script) {
    let (requests, seen) = mpsc::channel();
    let (answers, given) = mpsc::channel();
    let transport = Scripted { requests, answers: Mutex::new(given), interrupted: answers.clone() };
    (Arc::new(transport), Script { requests: seen, answers })
}

impl Transport for Scripted {
    fn send(&self, request: &Request) -> Outcome {
        let _ = self.requests.send(request.clone());
        let answer = self.answers.lock().recv().expect("the test gives an answer");
        let failed = |kind| Err(Failure { kind, detail: "scripted".into() });
        let result = match answer {
            Answer::Status(status) => Ok(Response { status, excerpt: String::new(), retry_after: None }),
            Answer::Panic => panic!("scripted: the transport panics"),
            Answer::Interrupted => failed(FailureKind::Internal),
        };
        Outcome { duration_ms: 1, result }
    }

    fn shutdown(&self) {
        let _ = self.interrupted.send(Answer::Interrupted);
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.engine.policy.max_attempts = 1;
    options
}

fn id(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

fn complete(handle: &Handle, name: &str, secret: Option<&str>) -> Job {
    let spec = JobSpec { webhook: Some(Webhook::to("https://r.example/hook")), ..JobSpec::default() };
    handle.register(id(name), spec, secret.map(|secret| Secret::new(secret).unwrap())).wait().unwrap();
    handle.report(id(name), Report::of(Status::Completed), None).wait().unwrap()
}

fn history(log: &MemoryLog) -> Vec<Envelope> {
    log.reader().events(Seq::ZERO, usize::MAX).unwrap()
}

fn names(events: &[Envelope]) -> Vec<&'static str> {
    events.iter().map(|event| event.event.name()).collect()
}

#[test]
fn an_attempt_in_flight_at_shutdown_is_finished_and_recorded() {
    let (transport, script) = scripted();
    let log = MemoryLog::new();
    let store = log.reopen();
    let runtime = Runtime::start(Box::new(log), transport, &options()).unwrap();
    complete(runtime.handle(), "a", None);
    script.requests.recv_timeout(PATIENCE).unwrap();
    let handle = runtime.handle().clone();
    let stopping = std::thread::spawn(move || runtime.shutdown());
    // Commands are refused from the moment at which it stops; only then is the attempt answered.
    while handle.health().is_ok() {
        std::thread::yield_now();
    }
    let refused = handle.report(id("a"), Report::of(Status::Failed), None).wait();
    assert_eq!(refused, Err(Error::Stopping));
    script.answers.send(Answer::Status(200)).unwrap();
    stopping.join().unwrap();
    assert_eq!(names(&history(&store)).last(), Some(&"attempt_succeeded"));
}

#[test]
fn an_attempt_that_outlasts_the_grace_is_interrupted_recorded_and_made_again_under_its_number() {
    let (transport, script) = scripted();
    let log = MemoryLog::new();
    let store = log.reopen();
    let impatient = Options { grace: Duration::ZERO, ..options() };
    let runtime = Runtime::start(Box::new(log), transport, &impatient).unwrap();
    complete(runtime.handle(), "a", None);
    let first = script.requests.recv_timeout(PATIENCE).unwrap();
    runtime.shutdown();
    assert_eq!(names(&history(&store)).last(), Some(&"attempt_interrupted"));

    let (transport, script) = scripted();
    let runtime = Runtime::start(Box::new(store.reopen()), transport, &options()).unwrap();
    let again = script.requests.recv_timeout(PATIENCE).unwrap();
    let header = |request: &Request, name: &str| {
        request.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()).unwrap()
    };
    assert_eq!(header(&first, "webhook-id"), header(&again, "webhook-id"));
    assert_eq!((header(&again, "X-Webhook-Attempt").as_str(), &first.body), ("1", &again.body));
    script.answers.send(Answer::Status(200)).unwrap();
    runtime.shutdown();
    assert_eq!(names(&history(&store)).last(), Some(&"attempt_succeeded"));
}

#[test]
fn once_the_end_is_announced_no_attempt_begins_and_commands_are_taken() {
    let (transport, script) = scripted();
    let log = MemoryLog::new();
    let store = log.reopen();
    let runtime = Runtime::start(Box::new(log), transport, &Options { workers: 1, ..options() }).unwrap();
    let handle = runtime.handle();
    complete(handle, "dead", None);
    script.requests.recv_timeout(PATIENCE).unwrap();
    script.answers.send(Answer::Status(500)).unwrap();
    // The only worker has the next attempt, so the retry's can't begin.
    complete(handle, "held", None);
    script.requests.recv_timeout(PATIENCE).unwrap();
    let letter = DeadLetterId(1);
    let waited_for = handle.retry_dead_letter(letter, false, true);
    let recorded = handle.register(id("before"), JobSpec::default(), None);
    recorded.wait().unwrap();
    runtime.start_no_attempts();
    assert_eq!(waited_for.wait(), Err(Error::Stopping));
    handle.register(id("after"), JobSpec::default(), None).wait().unwrap();
    script.answers.send(Answer::Status(200)).unwrap();
    runtime.shutdown_within(PATIENCE);
    let events = history(&store);
    let count = |name: &str| names(&events).iter().filter(|known| **known == name).count();
    assert_eq!((count("attempt_started"), count("redelivery_requested"), count("job_registered")), (2, 1, 4));
    assert_eq!(names(&events).last(), Some(&"attempt_succeeded"));
}

#[test]
fn a_panicking_transport_is_a_failed_attempt() {
    let (transport, script) = scripted();
    let log = MemoryLog::new();
    let store = log.reopen();
    let runtime = Runtime::start(Box::new(log), transport, &options()).unwrap();
    complete(runtime.handle(), "a", None);
    script.answers.send(Answer::Panic).unwrap();
    complete(runtime.handle(), "b", None);
    script.answers.send(Answer::Status(200)).unwrap();
    runtime.shutdown();
    let events = history(&store);
    let error = events.iter().find_map(|event| match &event.event {
        Event::AttemptFailed { end, .. } => end.error.clone(),
        _ => None,
    });
    assert!(error.unwrap().starts_with("internal: the attempt panicked"));
    assert!(names(&events).contains(&"attempt_succeeded"), "the others go on: {:?}", names(&events));
}

#[test]
fn a_failed_commit_refuses_everything_until_it_is_opened_anew() {
    for fault in [Fault::Lost, Fault::Stored] {
        let (transport, script) = scripted();
        let mut log = MemoryLog::new();
        let store = log.reopen();
        // Opening commits the store's key; the fault is for what comes after.
        drop(Runtime::start(Box::new(log.reopen()), Arc::clone(&transport) as Arc<dyn Transport>, &options()).unwrap());
        log.fail_next_commit(fault);
        let runtime = Runtime::start(Box::new(log), transport, &options()).unwrap();
        let spec = JobSpec::default();
        let failed = runtime.handle().register(id("a"), spec.clone(), None).wait();
        assert!(matches!(&failed, Err(Error::Failing(why)) if why.contains("storage failed")), "{failed:?}");
        assert!(runtime.handle().health().unwrap_err().to_string().contains("storage failed"));
        let refused = runtime.handle().register(id("b"), spec.clone(), None).wait();
        assert!(matches!(refused, Err(Error::Failing(_))));
        runtime.shutdown();

        let (transport, _script) = scripted();
        let runtime = Runtime::start(Box::new(store.reopen()), transport, &options()).unwrap();
        let there = runtime.handle().views().job(&id("a")).unwrap().is_some();
        assert_eq!(there, fault == Fault::Stored, "what was stored is known now");
        runtime.handle().register(id("a"), spec, None).wait().unwrap();
        drop(script);
    }
}

#[test]
fn a_webhook_signs_with_its_own_secret_else_the_global_one_else_not_at_all() {
    let signature = |global: Option<&str>, own: Option<&str>| {
        let (transport, script) = scripted();
        let mut options = options();
        options.engine.global_secrets = global.map(|secret| Secret::new(secret).unwrap()).into_iter().collect();
        let runtime = Runtime::start(Box::new(MemoryLog::new()), transport, &options).unwrap();
        complete(runtime.handle(), "a", own);
        let request = script.requests.recv_timeout(PATIENCE).unwrap();
        script.answers.send(Answer::Status(200)).unwrap();
        let found = request.headers.iter().find(|(name, _)| *name == "X-Webhook-Signature");
        found.map(|(_, value)| (value.clone(), request.body.clone()))
    };
    let with = |secret: &str, signed: Option<(String, Arc<[u8]>)>| {
        let (value, body) = signed.expect("it is signed");
        assert_eq!(value, hookledger::signature::github(&Secret::new(secret).unwrap(), &body));
    };
    with("own", signature(Some("global"), Some("own")));
    with("global", signature(Some("global"), None));
    with("own", signature(None, Some("own")));
    assert_eq!(signature(None, None), None);
}

#[test]
fn replies_reach_threads_and_tasks_and_reads_see_what_was_acknowledged() {
    let (transport, script) = scripted();
    let runtime = Runtime::start(Box::new(MemoryLog::new()), transport, &options()).unwrap();
    let handle = runtime.handle().clone();
    let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let job = tasks.block_on(async {
        let spec = JobSpec { webhook: Some(Webhook::to("https://r.example/")), ..JobSpec::default() };
        handle.register(id("a"), spec, None).await.unwrap();
        handle.report(id("a"), Report::of(Status::Completed), Some(1)).await.unwrap()
    });
    assert_eq!(job.latest.as_ref().map(|latest| latest.status), Some(WebhookStatus::Pending));
    let seen = handle.views().job(&id("a")).unwrap().unwrap();
    assert_eq!((seen.status, seen.version), (Status::Completed, 2));
    let delivery = handle.views().delivery(job.latest.unwrap().id).unwrap().unwrap();
    assert_eq!(delivery.state, DeliveryState::InFlight, "the attempt joins the commit of the report");
    script.answers.send(Answer::Status(200)).unwrap();
    let end = tasks.block_on(handle.beyond(seen.head));
    assert!(end > seen.head);
    runtime.shutdown();
}

#[test]
fn dropping_a_reply_takes_nothing_back() {
    let (transport, _script) = scripted();
    let log = MemoryLog::new();
    let store = log.reopen();
    let runtime = Runtime::start(Box::new(log), transport, &options()).unwrap();
    drop(runtime.handle().register(id("a"), JobSpec::default(), None));
    runtime.shutdown();
    assert_eq!(names(&history(&store)), ["job_registered"]);
}

/// Rows become visible with their commit, events with its sync: in between a row names an event that is on its way.
#[test]
fn a_history_can_be_read_while_commits_are_on_their_way_to_the_disk() {
    const REPORTS: u64 = 300;
    let directory = tempfile::tempdir().unwrap();
    let (transport, _script) = scripted();
    let log = SledLog::open(directory.path()).unwrap();
    let runtime = Runtime::start(Box::new(log), transport, &options()).unwrap();
    let handle = runtime.handle().clone();
    handle.register(id("a"), JobSpec::default(), None).wait().unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            loop {
                let job = handle.views().job(&id("a")).unwrap().unwrap();
                let history = handle.views().history(&job).expect("a history is whole at any moment");
                assert_eq!(history.last().map(|event| event.seq), Some(job.head));
                if job.counts.completed == REPORTS {
                    return;
                }
            }
        });
        for completed in 1..=REPORTS {
            let report = Report { completed: Some(completed), ..Report::default() };
            runtime.handle().report(id("a"), report, None).wait().unwrap();
        }
        reader.join().unwrap();
    });
}
