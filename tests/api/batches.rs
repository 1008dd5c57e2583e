//! Batches: registering, seeing, listing, reporting, cancelling, their history.

use serde_json::{Value, json};

use crate::fixture::{Api, HOOK, SECRET};

fn names(history: &Value) -> Vec<&str> {
    history["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn a_batch_is_openais_object() {
    let api = Api::start();
    let body = json!({
        "id": "b1", "input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "30m",
        "metadata": {"team": "ä"}, "output_expires_after": {"anchor": "created_at", "seconds": 3600}, "priority": -1,
        "request_counts": {"total": 5}, "webhook": {"url": HOOK, "secret": SECRET, "format": null},
    });
    let created = api.post("/v1/batches", &body).expect(200);
    let at = created.body["created_at"].as_i64().unwrap();
    let expected = json!({
        "id": "b1", "object": "batch", "endpoint": "/v1/embeddings", "model": null, "errors": null,
        "input_file_id": "file-1", "completion_window": "30m", "status": "validating", "output_file_id": null,
        "error_file_id": null, "created_at": at, "in_progress_at": null, "expires_at": at + 1800, "finalizing_at": null,
        "completed_at": null, "failed_at": null, "expired_at": null, "cancelling_at": null, "cancelled_at": null,
        "request_counts": {"total": 5, "completed": 0, "failed": 0}, "metadata": {"team": "ä"},
        "output_expires_after": {"anchor": "created_at", "seconds": 3600}, "priority": -1, "webhook_url": HOOK,
        "webhook_status": null, "webhook_attempts": 0, "webhook_error": null, "webhook_last_attempt": null,
    });
    assert_eq!(created.body, expected);
    let seen = api.get("/v1/batches/b1").expect(200);
    assert_eq!((&seen.body, seen.header("etag")), (&expected, Some("\"1\"")));
}

#[test]
fn the_same_registration_again_is_the_same_batch_and_another_is_a_conflict() {
    let api = Api::start();
    let body = json!({"id": "once", "webhook": {"url": HOOK, "secret": SECRET}});
    let first = api.post("/v1/batches", &body).expect(200);
    let again = api.post("/v1/batches", &body).expect(200);
    assert_eq!(first.body, again.body);
    assert_eq!(names(&api.get("/v1/batches/once/history").body), ["job_registered"]);
    for other in [
        json!({"id": "once"}),
        json!({"id": "once", "webhook": {"url": HOOK, "secret": "another"}}),
        json!({"id": "once", "webhook": {"url": HOOK}}),
    ] {
        api.post("/v1/batches", &other).expect_problem(409, "id_taken", Value::Null);
    }
}

#[test]
fn without_an_id_the_server_makes_one() {
    let api = Api::start();
    let id = |answer: crate::fixture::Answer| answer.expect(200).body["id"].as_str().unwrap().to_owned();
    let (one, two) = (id(api.post("/v1/batches", &json!({}))), id(api.post("/v1/batches", &json!({"id": null}))));
    assert_ne!(one, two);
    let digits = one.strip_prefix("batch_").unwrap();
    assert!(digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
}

#[test]
fn a_batch_that_is_done_is_registered_and_reported_in_one_write() {
    let api = Api::start();
    let errors = json!([{"code": "c", "line": 3, "message": "m", "param": null}]);
    let body = json!({
        "id": "done", "status": "completed", "request_counts": {"total": 5, "completed": 4, "failed": 1},
        "output_file_id": "out", "error_file_id": "err", "errors": {"object": "list", "data": errors},
        "metadata": {"webhook_url": HOOK},
    });
    let batch = api.post("/v1/batches", &body).expect(200).body;
    assert_eq!(batch["status"], "completed");
    assert_eq!(batch["request_counts"], json!({"total": 5, "completed": 4, "failed": 1}));
    assert_eq!((&batch["output_file_id"], &batch["error_file_id"]), (&json!("out"), &json!("err")));
    assert_eq!(batch["errors"], json!({"object": "list", "data": errors}));
    assert_eq!((&batch["webhook_url"], &batch["webhook_status"]), (&json!(HOOK), &json!("pending")));
    assert_eq!(batch["metadata"], json!({"webhook_url": HOOK}));
    let sent: Value = serde_json::from_str(&api.transport.next()).unwrap();
    assert_eq!((&sent["id"], &sent["status"]), (&json!("done"), &json!("completed")));
}

#[test]
fn reporting_what_holds_already_records_nothing() {
    let api = Api::start();
    api.batch_with_webhook("p");
    let report = json!({"status": "in_progress", "request_counts": {"total": 9, "completed": 3}, "errors": []});
    let first = api.patch("/v1/batches/p", &report).expect(200);
    assert_eq!((first.header("etag"), &first.body["status"]), (Some("\"2\""), &json!("in_progress")));
    let history = api.get("/v1/batches/p/history").body;
    for repeat in [report.clone(), json!({}), json!({"status": "in_progress"}), json!({"status": null})] {
        let again = api.patch("/v1/batches/p", &repeat).expect(200);
        assert_eq!((again.header("etag"), &again.body), (Some("\"2\""), &first.body));
    }
    api.send("PATCH", "/v1/batches/p", &[], b"").expect(200);
    assert_eq!(api.get("/v1/batches/p/history").body, history);
    assert_eq!(names(&history), ["job_registered", "job_transitioned"]);
}

#[test]
fn a_terminal_batch_never_changes() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "t", "status": "failed"})).expect(200);
    let before = api.get("/v1/batches/t").body;
    for report in [json!({"status": "completed"}), json!({"request_counts": {"failed": 1}})] {
        let answer = api.patch("/v1/batches/t", &report);
        answer.expect_problem(409, "illegal_transition", Value::Null);
        assert_eq!(answer.header("x-should-retry"), Some("false"), "OpenAI's clients are told that it is in vain");
    }
    api.post_nothing("/v1/batches/t/cancel").expect_problem(409, "illegal_transition", Value::Null);
    api.patch("/v1/batches/t", &json!({"status": "failed"})).expect(200);
    assert_eq!(api.get("/v1/batches/t").body, before);
}

#[test]
fn if_match_holds_a_report_to_a_version() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "v"})).expect(200);
    let patch = |tag: &str, completed: u32| {
        let headers = [("Content-Type", "application/json"), ("If-Match", tag)];
        let body = json!({"request_counts": {"completed": completed}}).to_string();
        api.send("PATCH", "/v1/batches/v", &headers, body.as_bytes())
    };
    assert_eq!(patch("\"1\"", 1).expect(200).header("etag"), Some("\"2\""));
    for stale in ["\"1\"", "W/\"2\"", "\"other\"", "\"7\", \"8\"", "", ","] {
        patch(stale, 2).expect_problem(412, "stale_version", Value::Null);
    }
    for bad in ["2", "\"2", "\"2\" \"3\""] {
        patch(bad, 2).expect_problem(400, "malformed_if_match", Value::Null);
    }
    assert_eq!(patch("*", 2).expect(200).header("etag"), Some("\"3\""));
    assert_eq!(patch("\"9\",, \"3\",", 3).expect(200).header("etag"), Some("\"4\""));
}

#[test]
fn cancelling_asks_the_worker() {
    let api = Api::start();
    api.batch_with_webhook("c");
    assert_eq!(api.post_nothing("/v1/batches/c/cancel").expect(200).body["status"], "cancelling");
    assert_eq!(api.post("/v1/batches/c/cancel", &json!({})).expect(200).body["status"], "cancelling");
    api.post("/v1/batches/c/cancel", &json!({"now": true})).expect_problem(422, "unknown_field", "now");
    api.patch("/v1/batches/c", &json!({"status": "completed"})).expect_problem(409, "illegal_transition", Value::Null);
    assert_eq!(api.patch("/v1/batches/c", &json!({"status": "cancelled"})).expect(200).body["status"], "cancelled");
    assert!(api.transport.next().contains("cancelled"));
}

#[test]
fn what_is_not_there_is_not_found() {
    let api = Api::start();
    let report = json!({"status": "completed"});
    for id in ["missing", "not%20an%20id", "%ff", &"a".repeat(65)] {
        api.get(&format!("/v1/batches/{id}")).expect_problem(404, "not_found", Value::Null);
        api.get(&format!("/v1/batches/{id}/history")).expect_problem(404, "not_found", Value::Null);
        api.patch(&format!("/v1/batches/{id}"), &report).expect_problem(404, "not_found", Value::Null);
        api.post_nothing(&format!("/v1/batches/{id}/cancel")).expect_problem(404, "not_found", Value::Null);
    }
    assert_eq!(api.get("/v1/batches/missing").body["detail"], "No batch with id 'missing'.");
}

#[test]
fn a_history_tells_everything_but_secrets() {
    let api = Api::start();
    api.dead_letter("h");
    let history = api.get("/v1/batches/h/history").expect(200).body;
    assert_eq!(history["object"], "list");
    let events = history["data"].as_array().unwrap();
    assert_eq!(
        names(&history),
        [
            "job_registered",
            "job_transitioned",
            "delivery_scheduled",
            "attempt_started",
            "attempt_failed",
            "delivery_exhausted"
        ]
    );
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!((&event["seq"], &event["batch_id"]), (&json!(seq), &json!("h")));
        assert!(event["at"].as_str().unwrap().ends_with('Z'));
    }
    let webhook = json!({
        "url": HOOK, "signed": true, "max_retries": null, "timeout": null, "events": null, "format": "batch",
    });
    assert_eq!(events[0]["spec"]["webhook"], webhook);
    assert_eq!(events[1]["report"], json!({"status": "completed"}));
    let delivery = &events[2]["delivery_id"];
    assert!(delivery.as_str().unwrap().starts_with("msg_"));
    let (seq, at) = (&events[4]["seq"], &events[4]["at"]);
    let failed = json!({
        "seq": seq, "at": at, "batch_id": "h", "type": "attempt_failed", "delivery_id": delivery, "attempt": 1,
        "duration_ms": 7, "status_code": 500, "error": "HTTP 500", "response_excerpt": "an excerpt", "retry_at": null,
    });
    assert_eq!(events[4], failed);
    assert_eq!(events[5]["dead_letter_id"], 1);
}

#[test]
fn lists_are_walked_newest_first() {
    let api = Api::start();
    let empty = api.get("/v1/batches").expect(200).body;
    assert_eq!(empty, json!({"object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false}));
    for n in 0..25 {
        let status = if n % 5 == 0 { "completed" } else { "in_progress" };
        api.post("/v1/batches", &json!({"id": format!("l{n}"), "status": status})).expect(200);
    }
    let walk = |query: &str| {
        let (mut ids, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let page = api.get(&format!("/v1/batches?{query}{after}")).expect(200).body;
            let data = page["data"].as_array().unwrap();
            let of = |batch: Option<&Value>| batch.map_or(Value::Null, |batch| batch["id"].clone());
            assert_eq!((of(data.first()), of(data.last())), (page["first_id"].clone(), page["last_id"].clone()));
            ids.extend(data.iter().map(|batch| batch["id"].as_str().unwrap().to_owned()));
            pages += 1;
            if page["has_more"] == false {
                return (ids, pages);
            }
            after = format!("&after={}", page["last_id"].as_str().unwrap());
        }
    };
    let all: Vec<String> = (0..25).rev().map(|n| format!("l{n}")).collect();
    assert_eq!(walk(""), (all.clone(), 2));
    assert_eq!(walk("limit=100"), (all.clone(), 1));
    assert_eq!(walk("limit=25"), (all.clone(), 1));
    assert_eq!(walk("limit=5"), (all, 5));
    let completed = ["l20", "l15", "l10", "l5", "l0"].map(String::from).to_vec();
    assert_eq!(walk("status=completed"), (completed.clone(), 1));
    assert_eq!(walk("limit=2&status=completed"), (completed, 3));
    assert_eq!(walk("status=expired"), (Vec::new(), 1));
}

#[test]
fn batches_are_found_by_the_beginning_of_their_ids() {
    let api = Api::start();
    for (id, status) in
        [("a-2", "completed"), ("b", "completed"), ("a-10", "in_progress"), ("a-1", "failed"), ("A-1", "failed")]
    {
        api.post("/v1/batches", &json!({"id": id, "status": status})).expect(200);
    }
    let found = |query: &str| {
        let page = api.get(&format!("/v1/batches?{query}")).expect(200).body;
        let ids = page["data"].as_array().unwrap().iter().map(|batch| batch["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page["has_more"] == true)
    };
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(found("prefix=a-"), (ids(&["a-1", "a-10", "a-2"]), false), "by id, finished or not");
    assert_eq!(found("prefix=a-&limit=2"), (ids(&["a-1", "a-10"]), true));
    assert_eq!(found("prefix=a-&limit=2&after=a-10"), (ids(&["a-2"]), false));
    assert_eq!(found("prefix=a-&after=a-11"), (ids(&["a-2"]), false), "after an id that there need not be");
    assert_eq!(found("prefix=a-1"), (ids(&["a-1", "a-10"]), false));
    assert_eq!(found("prefix=c"), (ids(&[]), false));
    api.get("/v1/batches?prefix=").expect_problem(422, "invalid_parameter", "prefix");
    api.get("/v1/batches?prefix=a%2F").expect_problem(422, "invalid_parameter", "prefix");
    assert_eq!(found("prefix=a&status=failed"), (ids(&["a-1"]), false));
    assert_eq!(found("prefix=a-&status=in_progress&after=a-1"), (ids(&["a-10"]), false));
    assert_eq!(found("prefix=a-&status=expired"), (ids(&[]), false));
}

#[test]
fn a_history_is_read_in_pages() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "long"})).expect(200);
    for completed in 1..=9 {
        api.patch("/v1/batches/long", &json!({"request_counts": {"completed": completed}})).expect(200);
    }
    let whole = api.get("/v1/batches/long/history").expect(200).body;
    assert_eq!((whole["data"].as_array().unwrap().len(), &whole["has_more"]), (10, &json!(false)));
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let page = api.get(&format!("/v1/batches/long/history?limit=4&after={after}")).expect(200).body;
        read.extend(page["data"].as_array().unwrap().clone());
        after = read.last().unwrap()["seq"].as_u64().unwrap();
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(Value::Array(read), whole["data"]);
    api.get("/v1/batches/long/history?limit=1001").expect_problem(422, "invalid_parameter", "limit");
}
