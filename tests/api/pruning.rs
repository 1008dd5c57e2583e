//! A store whose beginning was pruned, seen through the API, and payloads that are erased.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use hookledger::api::ApiOptions;
use hookledger::clock::{Clock, Stopwatch, SystemClock};
use hookledger::domain::command::Command;
use hookledger::domain::id::JobId;
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::webhook::Webhook;
use hookledger::engine::{Engine, Input, Settings};
use hookledger::log::EventLog;
use hookledger::log::memory::MemoryLog;
use hookledger::runtime::Options;
use serde_json::{Value, json};

use crate::fixture::{Api, HOOK, PATIENCE};

fn options(retention: Option<Duration>) -> Options {
    let mut options = Options::default();
    options.engine.policy.max_attempts = 1;
    options.engine.retention = retention;
    options
}

/// Twelve hours ago a job `old` was told of in vain, and later pruned; `long` goes on.
fn pruned() -> MemoryLog {
    let log = MemoryLog::new();
    let settings = Settings { retention: Some(Duration::from_hours(1)), ..options(None).engine };
    let now = SystemClock.now().minus(Duration::from_hours(12));
    let mut engine = Engine::open(Box::new(log.reopen()), settings, [1; 32], now).unwrap();
    let register = |id: &str, status| {
        let report = Report { status, ..Report::default() };
        let (webhook, completion_window) = (Some(Webhook::to(HOOK)), "30d".into());
        let spec = JobSpec { webhook, report, completion_window, ..JobSpec::default() };
        Input::of(Command::Register { id: JobId::new(id).unwrap(), spec })
    };
    engine.step(now, vec![register("long", None), register("old", Some(Status::Completed))], 0).unwrap();
    let attempt = engine.step(now, Vec::new(), 9).unwrap().attempts.pop().unwrap();
    let response = Response { status: 500, excerpt: String::new(), retry_after: None };
    let outcome = Outcome { duration_ms: 1, result: Ok(response) };
    let ended = Command::RecordOutcome { delivery: attempt.delivery, attempt: attempt.number, outcome };
    engine.step(now, vec![Input::of(ended)], 0).unwrap();
    engine.step(now.plus(Duration::from_hours(2)), Vec::new(), 0).unwrap();
    assert_eq!(engine.horizon().0 + 1, engine.tail().0, "all but the event that says so");
    log
}

#[test]
fn the_feed_says_where_it_goes_on() {
    let log = pruned();
    let api = Api::start_as(&log, ApiOptions::default(), &options(None));
    let (head, horizon) = (log.head(), log.reader().anchor().unwrap().horizon.0);
    for query in ["", "?after=0", "?after=1&limit=1", "?wait=1", &format!("?after={}", horizon - 1)] {
        let gone = api.get(&format!("/v1/log{query}"));
        let message = gone.expect_problem(410, "position_pruned", "after");
        let says = format!("What was recorded up to position {horizon} has been pruned. Go on with after={horizon}.");
        assert_eq!(message, says);
    }
    let feed = api.get(&format!("/v1/log?after={horizon}")).expect(200).body;
    assert_eq!((&feed["horizon"], &feed["head"]), (&json!(horizon), &json!(head.seq.0)));
    assert_eq!(feed["head_hash"], json!(head.hash.to_string()));
    let events = feed["data"].as_array().unwrap();
    let told: Vec<_> = events.iter().map(|event| (event["type"].as_str().unwrap(), &event["batch_id"])).collect();
    assert_eq!(told, [("job_pruned", &json!("old"))]);

    api.post("/v1/batches", &json!({"id": "new"})).expect(200);
    let feed = api.get(&format!("/v1/log?after={}", head.seq)).expect(200).body;
    assert_ne!(feed["head_hash"], json!(head.hash.to_string()));
    assert_eq!(feed["head_hash"], json!(log.head().hash.to_string()));
}

#[test]
fn what_was_pruned_is_not_found_and_what_lives_on_is_whole() {
    let api = Api::start_as(&pruned(), ApiOptions::default(), &options(None));
    for path in ["", "/history", "?at=3"] {
        api.get(&format!("/v1/batches/old{path}")).expect_problem(404, "not_found", Value::Null);
    }
    api.get("/v1/webhooks/dead-letter/1").expect_problem(404, "not_found", Value::Null);
    for (list, many) in [
        ("/v1/batches", 1),
        ("/v1/webhooks/deliveries", 0),
        ("/v1/webhooks/dead-letter", 0),
        ("/v1/batches?status=completed", 0),
    ] {
        assert_eq!(api.get(list).expect(200).body["data"].as_array().unwrap().len(), many, "{list}");
    }
    api.patch("/v1/batches/long", &json!({"status": "in_progress"})).expect(200);
    let history = api.get("/v1/batches/long/history").expect(200).body;
    let told: Vec<_> = history["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(told, ["job_registered", "job_transitioned"]);
    assert_eq!(api.get("/v1/batches/long?at=1").expect(200).body["status"], "validating", "before the log begins");
    api.post("/v1/batches", &json!({"id": "old", "endpoint": "/v1/embeddings"})).expect(200);
    assert_eq!(api.get("/v1/batches/old/history").expect(200).body["data"].as_array().unwrap().len(), 1);
    let metrics = api.get("/metrics").expect(200).text;
    assert!(metrics.lines().any(|line| line == "hookledger_log_horizon 7"), "{metrics}");
}

/// What is read back of the last day begins where the log does.
#[test]
fn the_statistics_of_a_pruned_log_are_those_of_what_is_left() {
    let log = pruned();
    for _ in 0..2 {
        let api = Api::start_as(&log, ApiOptions::default(), &options(None));
        let stats = api.until("/v1/webhooks/stats", |stats| stats["complete"] == true);
        let attempts: u64 =
            stats["data"].as_array().unwrap().iter().map(|host| host["last_day"]["attempts"].as_u64().unwrap()).sum();
        let known = api.get("/v1/batches/new").status == 200;
        assert_eq!(attempts, u64::from(known), "{stats}");
        if !known {
            api.batch_with_webhook("new");
            api.patch("/v1/batches/new", &json!({"status": "completed"})).expect(200);
            api.until("/v1/batches/new", |batch| batch["webhook_status"] == "failed");
        }
    }
}

/// The server does it by itself, when nobody asks anything of it.
#[test]
fn a_job_goes_when_its_time_is_over() {
    let api = Api::run(ApiOptions::default(), &options(Some(Duration::from_secs(1))));
    api.post("/v1/batches", &json!({"id": "short", "status": "completed"})).expect(200);
    let watch = Stopwatch::start();
    while api.get("/v1/batches/short").status != 404 {
        assert!(watch.elapsed() < PATIENCE, "it never goes");
        thread::yield_now();
    }
    let metrics = api.get("/metrics").expect(200).text;
    assert!(metrics.lines().any(|line| line == "hookledger_jobs_pruned_total 1"), "{metrics}");
}

#[test]
fn payloads_are_erased_and_the_history_stays() {
    let api = Api::start();
    let sent = api.dead_letter("e");
    let (letter, payloads) = ("/v1/webhooks/dead-letter/1", "/v1/batches/e/payloads");
    let before = api.get(letter).expect(200).body;
    assert_eq!(before["payload"], Value::String(sent));
    let batch = api.get("/v1/batches/e").expect(200);
    let history = api.get("/v1/batches/e/history").expect(200).body["data"].clone();

    assert_eq!(api.delete(payloads).expect(200).body, json!({"id": "e", "erased": 1}));
    let head = api.get("/v1/log").expect(200).body["head"].clone();
    assert_eq!(api.delete(payloads).expect(200).body, json!({"id": "e", "erased": 0}), "asking again does no harm");
    assert_eq!(api.get("/v1/log").expect(200).body["head"], head, "and records nothing");

    let mut after = api.get(letter).expect(200).body;
    assert_eq!(after["payload"], Value::Null);
    after["payload"] = before["payload"].clone();
    assert_eq!(after, before, "the rest is as it was");
    let again = api.get("/v1/batches/e").expect(200);
    assert_eq!((again.text.clone(), again.header("etag")), (batch.text.clone(), batch.header("etag")));
    let told = api.get("/v1/batches/e/history").expect(200).body["data"].clone();
    let (last, first) = told.as_array().unwrap().split_last().unwrap();
    assert_eq!(json!(first), history);
    assert_eq!((&last["type"], &last["deliveries"]), (&json!("payloads_erased"), &json!(1)));

    let delivery = before["delivery_id"].as_str().unwrap();
    for path in [
        format!("{letter}/retry"),
        format!("{letter}/retry?force=true"),
        format!("/v1/webhooks/deliveries/{delivery}/resend?force=true"),
    ] {
        let refused = api.post_nothing(&path);
        refused.expect_problem(409, "payload_erased", Value::Null);
        assert_eq!(refused.header("x-should-retry"), Some("false"));
    }
    for dry_run in [true, false] {
        let body = json!({"batch_id": "e", "force": true, "dry_run": dry_run});
        let retried = api.post("/v1/webhooks/dead-letter/retry", &body).expect(202).body;
        assert_eq!(retried, json!({"matched": 1, "queued": 0, "skipped": 1}));
    }
    api.delete("/v1/batches/nobody/payloads").expect_problem(404, "not_found", Value::Null);
    let api = api.restart();
    assert_eq!(api.get(letter).expect(200).body["payload"], Value::Null);
}

#[test]
fn what_is_on_its_way_is_not_erased() {
    let api = Api::start();
    api.dead_letter("w");
    api.transport.status.store(200, Ordering::SeqCst);
    api.transport.holding(|| {
        api.post_nothing("/v1/webhooks/dead-letter/1/retry?wait=false").expect(202);
        api.transport.next();
        api.delete("/v1/batches/w/payloads").expect_problem(409, "delivery_under_way", Value::Null);
    });
    api.until("/v1/webhooks/dead-letter/1", |letter| letter["retry_success"] == true);
    assert_eq!(api.delete("/v1/batches/w/payloads").expect(200).body["erased"], 1);
}
