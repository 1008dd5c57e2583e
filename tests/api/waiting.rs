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
    api.end_engine();
    assert!(unknown(&api.get(DELIVERIES).expect(200).body), "it has ended");
}
