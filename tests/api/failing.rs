//! What a client sees when the inside fails: that it does, when to come back, and nothing else.

use std::sync::atomic::Ordering;

use hookledger::domain::id::Seq;
use hookledger::runtime::Error;
use serde_json::{Value, json};

use crate::fixture::Api;

#[test]
fn a_server_that_serves_is_ready() {
    let api = Api::start();
    assert_eq!(api.get("/health").expect(200).body, json!({"status": "ok"}));
    assert_eq!(api.get("/ready").expect(200).body, json!({"status": "ready"}));
}

#[test]
fn failing_storage_is_said_and_not_explained() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "before"})).expect(200);
    api.faults.fail.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = api.post("/v1/batches", &json!({"id": "during"}));
        let message = answer.expect_problem(503, "storage_failing", Value::Null);
        assert!(
            message.contains(answer.header("x-request-id").unwrap()) && !message.contains("disk-detail"),
            "{message}"
        );
    }
    let message = api.get("/ready");
    assert!(!message.expect_problem(503, "storage_failing", Value::Null).contains("disk-detail"));
    api.get("/health").expect(200);
    api.get("/v1/batches/before").expect(200);
}

#[test]
fn damage_is_an_answer_too() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "damaged"})).expect(200);
    api.log.damage_event(Seq(1), |record| {
        *record.last_mut().unwrap() ^= 1;
        true
    });
    let answer = api.get("/v1/batches/damaged/history");
    let message = answer.expect_problem(503, "storage_failing", Value::Null);
    assert!(!message.contains("event 1"), "{message}");
}

#[test]
fn too_much_at_once_is_put_off() {
    let api = Api::start();
    let replies = api.overloaded(|| {
        let answer = api.post("/v1/batches", &json!({}));
        answer.expect_problem(429, "overloaded", Value::Null);
        assert_eq!(answer.header("retry-after"), Some("1"));
    });
    assert!(replies.iter().any(Result::is_ok) && replies.contains(&Err(Error::Overloaded)));
    api.post("/v1/batches", &json!({})).expect(200);
}

#[test]
fn an_engine_that_has_ended_is_said() {
    let mut api = Api::start();
    api.post("/v1/batches", &json!({"id": "kept"})).expect(200);
    api.end_engine();
    let answer = api.post("/v1/batches", &json!({}));
    let message = answer.expect_problem(503, "shutting_down", Value::Null);
    assert_eq!(message, "The server is shutting down.");
    api.get("/ready").expect_problem(503, "shutting_down", Value::Null);
    api.get("/health").expect(200);
    api.get("/v1/batches/kept").expect(200);
}
