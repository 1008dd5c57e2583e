//! What a delivery waits for, as it is shown.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hookledger::api::ApiOptions;
use hookledger::domain::id::JobId;
use hookledger::domain::job::JobSpec;
use hookledger::engine::Settings;
use hookledger::runtime::Options;
use hookledger::schedule::{Pacing, Rate};
use serde_json::{Value, json};

use crate::fixture::{Api, HOOK};

const DELIVERIES: &str = "/v1/webhooks/deliveries";

fn start(engine: impl FnOnce(&mut Settings)) -> Api {
    let mut options = Options::default();
    engine(&mut options.engine);
    Api::run(ApiOptions::default(), &options)
}

/// A job that is done, and so has a delivery.
fn complete(api: &Api, id: &str) {
    api.batch_with_webhook(id);
    api.patch(&format!("/v1/batches/{id}"), &json!({"status": "completed"})).expect(200);
}

/// Asks until the newest delivery of a job waits for that, alone and in a list.
fn until_it_waits(api: &Api, job: &str, what: impl Into<Value>) {
    let what = what.into();
    let page = api.until(&format!("{DELIVERIES}?batch_id={job}"), |page| page["data"][0]["waiting"] == what);
    let delivery = &page["data"][0];
    assert_eq!(delivery["status"], "pending");
    assert!(delivery["next_attempt_at"].is_string());
    let path = format!("{DELIVERIES}/{}", delivery["id"].as_str().unwrap());
    assert_eq!(api.get(&path).expect(200).body["waiting"], what);
}

#[test]
fn a_failed_attempt_waits_for_its_next_time() {
    let api = start(|engine| engine.policy.backoff.base = Duration::from_hours(1));
    complete(&api, "a");
    until_it_waits(&api, "a", "retry time");
}

#[test]
fn a_destination_that_fails_is_waited_for() {
    let api = start(|engine| {
        engine.policy.max_attempts = 1;
        engine.pacing = Pacing { failures: Some(1), ..Pacing::default() };
    });
    // Each of them that is tried makes the next pause twice as long: it is seen, however slow this machine is.
    (0..9).for_each(|n| complete(&api, &format!("p{n}")));
    api.until(DELIVERIES, |page| page["data"][0]["waiting"] == "destination paused");
}

/// What is known of the one destination here, as it is now.
fn now(api: &Api, holds: impl Fn(&Value) -> bool) -> Value {
    let stats = api.until("/v1/webhooks/stats", |stats| {
        stats["data"].as_array().is_some_and(|hosts| hosts.len() == 1) && holds(&stats["data"][0]["now"][0])
    });
    assert_eq!(stats["data"][0]["host"], "receiver.example");
    stats["data"][0]["now"][0].clone()
}

#[test]
fn how_a_destination_stands_is_seen_before_anything_has_ended_and_while_it_is_paused() {
    let api = start(|engine| {
        engine.policy.max_attempts = 2;
        engine.policy.backoff.base = Duration::from_hours(1);
        engine.pacing = Pacing { slots: 2, failures: Some(2), ..Pacing::default() };
    });
    api.transport.holding(|| {
        (0..3).for_each(|n| complete(&api, &format!("n{n}")));
        (0..2).for_each(|_| drop(api.transport.next()));
        let at_work = now(&api, |now| now["in_flight"] == 2 && now["ready"] == 1);
        let expected = json!({
            "destination": "https://receiver.example:443", "in_flight": 2, "ready": 1, "waiting": 0, "slots": 2,
            "failures": 0, "paused_until": null,
        });
        assert_eq!(at_work, expected);
        let host = &api.get("/v1/webhooks/stats").expect(200).body["data"][0];
        assert_eq!(host["last_day"]["attempts"], 0, "nothing has ended, and it is there all the same");
    });
    let paused = now(&api, |now| now["paused_until"].is_string());
    assert_eq!((&paused["slots"], paused["in_flight"].as_u64().unwrap() <= 1), (&json!(1), true), "{paused}");
    assert!(paused["failures"].as_u64().unwrap() >= 2 && paused["waiting"].as_u64().unwrap() >= 2, "{paused}");
    api.transport.status.store(200, Ordering::SeqCst);
    complete(&api, "n3");
    let well = now(&api, |now| now["failures"] == 0);
    assert!(well["paused_until"].is_null() && well["waiting"].as_u64().unwrap() >= 2, "{well}");
}

#[test]
fn a_rate_limit_is_waited_for() {
    let api = start(|engine| engine.pacing.rate = Some(Rate { per_second: 1 }));
    (0..30).for_each(|n| complete(&api, &format!("r{n}")));
    api.until(DELIVERIES, |page| page["data"][0]["waiting"] == "rate limit");
}

#[test]
fn a_turn_is_waited_for() {
    let api = start(|engine| engine.pacing.slots = 1);
    api.transport.status.store(200, Ordering::SeqCst);
    api.transport.holding(|| {
        complete(&api, "first");
        api.transport.next();
        complete(&api, "second");
        until_it_waits(&api, "second", "turn");
        let first = api.get(&format!("{DELIVERIES}?batch_id=first")).expect(200).body["data"][0].clone();
        assert_eq!((&first["status"], &first["waiting"]), (&json!("in_flight"), &Value::Null));
    });
    let done = api.until(&format!("{DELIVERIES}?batch_id=second"), |page| page["data"][0]["status"] == "delivered");
    assert_eq!(done["data"][0]["waiting"], Value::Null);
}

#[test]
fn progress_waits_for_its_interval() {
    let api = start(|engine| engine.progress_interval = Duration::from_hours(1));
    api.transport.status.store(200, Ordering::SeqCst);
    let webhook = json!({"url": HOOK, "events": ["progress"]});
    api.post("/v1/batches", &json!({"id": "a", "webhook": webhook, "request_counts": {"total": 9}})).expect(200);
    for completed in 1..=3 {
        api.patch("/v1/batches/a", &json!({"request_counts": {"completed": completed}})).expect(200);
    }
    until_it_waits(&api, "a", "progress interval");
    assert_eq!(
        api.get(&format!("{DELIVERIES}?status=superseded")).expect(200).body["data"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn an_engine_that_is_busy_or_gone_is_not_waited_for() {
    let mut api = start(|engine| engine.policy.backoff.base = Duration::from_hours(1));
    complete(&api, "a");
    until_it_waits(&api, "a", "retry time");
    {
        let _held = api.faults.gate.write().unwrap();
        let reply = api.handle().register(JobId::new("b").unwrap(), JobSpec::default(), None);
        api.until(DELIVERIES, |page| page["data"][0]["status"] == "pending" && page["data"][0]["waiting"].is_null());
        drop(reply);
    }
    until_it_waits(&api, "a", "retry time");
    api.faults.fail.store(true, Ordering::SeqCst);
    api.post("/v1/batches", &json!({})).expect_problem(503, "storage_failing", Value::Null);
    let unknown = |page: &Value| page["data"][0]["status"] == "pending" && page["data"][0]["waiting"].is_null();
    assert!(unknown(&api.get(DELIVERIES).expect(200).body), "it is failing");
    assert_eq!(api.get("/v1/webhooks/stats").expect(200).body["data"][0]["now"], Value::Null);
    api.end_engine();
    assert!(unknown(&api.get(DELIVERIES).expect(200).body), "it has ended");
    assert_eq!(api.get("/v1/webhooks/stats").expect(200).body["data"][0]["now"], Value::Null);
}
