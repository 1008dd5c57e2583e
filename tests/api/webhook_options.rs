//! A webhook's headers, rate limit and schedule, and other secrets for it: what is taken, what is sent, and what nobody gets
//! to see.

use std::sync::atomic::Ordering;

use hookledger::domain::id::Seq;
use hookledger::log::{EventLog, Order, codec};
use hookledger::transport::Request;
use hookledger::verify::Verifier;
use serde_json::{Value, json};

use crate::fixture::{Api, HOOK, SECRET};

const NEW_SECRET: &str = "must-never-be-shown-the-new-secret";
const HEADER: &str = "Bearer must-never-be-shown-a-token";

fn signed_by(request: &Request, secret: &str) -> bool {
    let sent = request.headers.iter().find(|(name, _)| *name == "webhook-timestamp").unwrap();
    let now = sent.1.parse().unwrap();
    Verifier::new(secret).unwrap().verify(request.headers.clone(), &request.body, now).is_ok()
}

fn webhook(field: &str, value: &Value) -> Value {
    json!({"webhook": {"url": HOOK, "secret": SECRET, field: value}})
}

#[test]
fn options_are_checked_and_named() {
    let api = Api::start();
    for (field, value, code, param) in [
        ("headers", json!({"Host": HEADER}), "invalid_header", "webhook.headers"),
        ("headers", json!({"X-A": "must-never\r\nX-B: 1"}), "invalid_header", "webhook.headers"),
        ("headers", json!({"X-A": "1", "x-a": "2"}), "invalid_header", "webhook.headers"),
        ("headers", json!({"X-A": 1}), "invalid_type", "webhook.headers.X-A"),
        ("headers", json!([HEADER]), "invalid_type", "webhook.headers"),
        ("rate_limit", json!(0), "invalid_rate_limit", "webhook.rate_limit"),
        ("rate_limit", json!(1001), "invalid_rate_limit", "webhook.rate_limit"),
        ("rate_limit", json!("5"), "invalid_type", "webhook.rate_limit"),
        ("retry_schedule", json!([]), "invalid_retry_schedule", "webhook.retry_schedule"),
        ("retry_schedule", json!(vec![1; 10]), "invalid_retry_schedule", "webhook.retry_schedule"),
        ("retry_schedule", json!([5, 0]), "invalid_retry_schedule", "webhook.retry_schedule"),
        ("retry_schedule", json!([-5]), "invalid_retry_schedule", "webhook.retry_schedule"),
        ("retry_schedule", json!([u64::MAX]), "invalid_retry_schedule", "webhook.retry_schedule"),
        ("retry_schedule", json!([5, "5m"]), "invalid_type", "webhook.retry_schedule.1"),
    ] {
        let answer = api.post("/v1/batches", &webhook(field, &value));
        answer.expect_problem(422, code, param);
    }
    let host = api.post("/v1/batches", &webhook("headers", &json!({"HOST": "x"})));
    assert!(host.expect_problem(422, "invalid_header", "webhook.headers").contains("'host'"));
    for (field, value) in [
        ("headers", json!(null)),
        ("headers", json!({})),
        ("rate_limit", json!(1000)),
        ("retry_schedule", json!([604_800, 1, 1, 1, 1, 1, 1, 1, 1])),
    ] {
        api.post("/v1/batches", &webhook(field, &value)).expect(200);
    }
}

#[test]
fn a_new_secret_is_checked_and_named() {
    let api = Api::start();
    api.batch_with_webhook("a");
    for (webhook, code, param) in [
        (json!({}), "missing_field", "webhook.secret"),
        (json!({"overlap": 5}), "missing_field", "webhook.secret"),
        (json!({"secret": ""}), "invalid_secret", "webhook.secret"),
        (json!({"secret": [NEW_SECRET]}), "invalid_type", "webhook.secret"),
        (json!({"secret": NEW_SECRET, "overlap": -1}), "invalid_type", "webhook.overlap"),
        (json!({"secret": NEW_SECRET, "overlap": 604_801}), "invalid_overlap", "webhook.overlap"),
        (json!({"secret": NEW_SECRET, "overlap": "1d"}), "invalid_type", "webhook.overlap"),
        (json!({"secret": NEW_SECRET, "url": HOOK}), "unknown_field", "webhook.url"),
    ] {
        let body = json!({"webhook": webhook, "status": "completed"});
        api.patch("/v1/batches/a", &body).expect_problem(422, code, param);
    }
    let batch = api.get("/v1/batches/a").expect(200);
    assert_eq!(
        (batch.header("etag"), &batch.body["status"]),
        (Some("\"1\""), &json!("validating")),
        "nothing half done"
    );
    api.post("/v1/batches", &json!({"id": "bare"})).expect(200);
    let rotation = json!({"webhook": {"secret": NEW_SECRET}});
    api.patch("/v1/batches/bare", &rotation).expect_problem(409, "no_webhook", Value::Null);
    api.patch("/v1/batches/nobody", &rotation).expect_problem(404, "not_found", Value::Null);
}

#[test]
fn a_rotation_raises_the_version_once_and_a_registration_stays_what_it_was() {
    let api = Api::start();
    api.batch_with_webhook("a");
    let rotation = json!({"webhook": {"secret": NEW_SECRET, "overlap": 3600}});
    for _ in 0..2 {
        let rotated = api.patch("/v1/batches/a", &rotation).expect(200);
        assert_eq!(rotated.header("etag"), Some("\"2\""), "the same secret again is no news");
    }
    let json = [("Content-Type", "application/json"), ("If-Match", "\"1\"")];
    let stale = json!({"webhook": {"secret": "another"}}).to_string();
    let stale = api.send("PATCH", "/v1/batches/a", &json, stale.as_bytes());
    stale.expect_problem(412, "stale_version", Value::Null);
    assert_eq!(api.batch_with_webhook("a").header("etag"), Some("\"2\""));
    let other = json!({"id": "a", "webhook": {"url": HOOK, "secret": NEW_SECRET}});
    api.post("/v1/batches", &other).expect_problem(409, "id_taken", Value::Null);
    let history = api.get("/v1/batches/a/history").expect(200).body;
    let rotated = &history["data"][1];
    assert_eq!(history["data"].as_array().unwrap().len(), 2);
    assert_eq!(rotated["type"], "secret_rotated");
    assert!(rotated["former_until"].as_str().unwrap() > rotated["at"].as_str().unwrap());
}

#[test]
fn the_history_says_what_is_configured_and_not_what_the_headers_are() {
    let api = Api::start();
    let hook = json!({"url": HOOK, "headers": {"Authorization": HEADER}, "rate_limit": 7, "retry_schedule": [5, 300]});
    let body = json!({"id": "a", "webhook": hook});
    for _ in 0..2 {
        api.post("/v1/batches", &body).expect(200);
    }
    let other = json!({"id": "a", "webhook": {"url": HOOK, "headers": {"Authorization": "x"}, "rate_limit": 7, "retry_schedule": [5, 300]}});
    api.post("/v1/batches", &other).expect_problem(409, "id_taken", Value::Null);
    let history = api.get("/v1/batches/a/history").expect(200).body;
    let configured = &history["data"][1];
    assert_eq!((&history["data"].as_array().unwrap().len(), &configured["type"]), (&2, &json!("webhook_configured")));
    assert_eq!(configured["headers"], true);
    assert_eq!((&configured["rate_limit"], &configured["retry_schedule"]), (&json!(7), &json!([5, 300])));
    api.patch("/v1/batches/a", &json!({"status": "completed"})).expect(200);
    let deliveries = api.get("/v1/webhooks/deliveries").expect(200).body;
    assert_eq!(deliveries["data"][0]["max_attempts"], 3, "one more than there are waits");
}

/// The rows and the events of everything that can be done with a secret and with headers.
#[test]
fn secrets_and_headers_stand_in_one_place_alone() {
    let api = Api::start();
    let hook =
        json!({"url": HOOK, "secret": SECRET, "headers": {"Authorization": HEADER, "X-Tenant": "t"}, "max_retries": 1});
    let body = json!({"id": "a", "webhook": hook, "status": "completed"});
    let keyed = [("Content-Type", "application/json"), ("Idempotency-Key", "once")];
    for _ in 0..2 {
        api.send("POST", "/v1/batches", &keyed, body.to_string().as_bytes()).expect(200);
    }
    api.transport.next();
    api.until("/v1/batches/a", |batch| batch["webhook_status"] == "failed");
    api.patch("/v1/batches/a", &json!({"webhook": {"secret": NEW_SECRET}})).expect(200);
    api.transport.status.store(200, Ordering::SeqCst);
    api.post_nothing("/v1/webhooks/dead-letter/1/retry").expect(200);
    let [first, second] = &api.transport.requests.lock().unwrap()[..] else { panic!("two attempts") };
    assert!(signed_by(first, SECRET) && !signed_by(first, NEW_SECRET));
    assert!(signed_by(second, SECRET) && signed_by(second, NEW_SECRET));
    for request in [first, second] {
        let sent: Vec<_> = request.custom.iter().collect();
        assert_eq!(sent, [("authorization", HEADER), ("x-tenant", "t")]);
        assert!(!format!("{request:?}").contains("must-never"));
    }
    // The answers look for them by themselves.
    let mut paths =
        vec!["/v1/batches", "/v1/batches/a", "/v1/batches/a?at=1", "/v1/batches/a/history", "/v1/log?limit=1000"];
    paths.extend(["/v1/webhooks/deliveries", "/v1/webhooks/dead-letter", "/v1/webhooks/dead-letter/1", "/metrics"]);
    for path in paths {
        api.get(path).expect(200);
    }
    let reader = api.log.reopen().reader();
    let events = reader.events(Seq::ZERO, usize::MAX).unwrap();
    let texts = [SECRET, NEW_SECRET, HEADER, "must-never"].map(str::as_bytes);
    let holds = |bytes: &[u8]| texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == *text));
    assert!(events.len() > 8);
    for event in &events {
        assert!(!holds(&codec::encode_event(event)) && !format!("{event:?}").contains("must-never"), "{event:?}");
    }
    let rows = reader.rows(b"", Order::Ascending, None, usize::MAX).unwrap();
    let (kept, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, _)| key[0] == b's');
    assert!(others.len() > 10 && others.iter().all(|(key, value)| !holds(key) && !holds(value)));
    assert!(
        kept.len() == 3 && kept.iter().all(|(key, value)| !holds(key) && holds(value)),
        "two secrets, one set of headers"
    );
}
