//! Deliveries: listing, seeing, sending once more.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::fixture::{Api, HOOK};

const DELIVERIES: &str = "/v1/webhooks/deliveries";
const LETTERS: &str = "/v1/webhooks/dead-letter";

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect()
}

/// The newest delivery of a batch.
fn newest(api: &Api, batch: &str) -> String {
    ids(&api.get(&format!("{DELIVERIES}?batch_id={batch}")).expect(200).body).remove(0)
}

fn shown(api: &Api, id: &str) -> Value {
    api.get(&format!("{DELIVERIES}/{id}")).expect(200).body
}

fn until_status(api: &Api, id: &str, status: &str) -> Value {
    api.until(&format!("{DELIVERIES}/{id}"), |delivery| delivery["status"] == status)
}

fn resend(id: &str, force: bool) -> String {
    format!("{DELIVERIES}/{id}/resend{}", if force { "?force=true" } else { "" })
}

fn history(api: &Api, batch: &str) -> Vec<String> {
    let history = api.get(&format!("/v1/batches/{batch}/history")).expect(200).body;
    history["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// A batch whose delivery is delivered. Gives the delivery, and the bytes that were sent.
fn delivered(api: &Api, batch: &str) -> (String, String) {
    api.batch_with_webhook(batch);
    api.transport.status.store(200, Ordering::SeqCst);
    api.patch(&format!("/v1/batches/{batch}"), &json!({"status": "completed"})).expect(200);
    let sent = api.transport.next();
    let id = newest(api, batch);
    until_status(api, &id, "delivered");
    (id, sent)
}

#[test]
fn a_delivery_shows_what_it_is_and_what_came_of_it() {
    let api = Api::start();
    let (id, _) = delivered(&api, "d");
    let delivery = shown(&api, &id);
    let (made, at, end) = (&delivery["created_at"], &delivery["attempts"][0]["started_at"], &delivery["delivered_at"]);
    assert!([made, at, end].iter().all(|time| time.as_str().unwrap().ends_with('Z')), "{delivery}");
    let attempt = json!({
        "number": 1, "started_at": at, "duration_ms": 7, "status_code": 200, "error": null,
        "response_excerpt": "an excerpt",
    });
    let expected = json!({
        "id": id, "batch_id": "d", "event": "completed", "url": HOOK, "status": "delivered", "created_at": made,
        "delivered_at": end, "max_attempts": 1, "next_attempt_at": null, "waiting": null,
        "dead_letter_id": null, "attempts": [attempt],
    });
    assert_eq!(delivery, expected);
    let list = api.get(DELIVERIES).expect(200).body;
    let page = json!({"object": "list", "data": [expected], "first_id": id, "last_id": id, "has_more": false});
    assert_eq!(list, page);
}

#[test]
fn one_that_is_waited_for_says_when() {
    let api = Api::start();
    let webhook = json!({"url": HOOK, "max_retries": 4});
    api.post("/v1/batches", &json!({"id": "w", "webhook": webhook, "status": "failed"})).expect(200);
    api.transport.next();
    let id = newest(&api, "w");
    let pending = api.until(&format!("{DELIVERIES}/{id}"), |delivery| delivery["attempts"][0]["error"].is_string());
    assert_eq!((&pending["status"], &pending["max_attempts"]), (&json!("pending"), &json!(4)));
    assert!(pending["next_attempt_at"].as_str().unwrap() > pending["created_at"].as_str().unwrap());
    let refused = api.post_nothing(&resend(&id, true));
    refused.expect_problem(409, "attempt_in_flight", Value::Null);
    assert_eq!(pending["delivered_at"], Value::Null);
}

#[test]
fn one_in_flight_is_not_sent_twice_at_once() {
    let api = Api::start();
    api.batch_with_webhook("f");
    api.transport.status.store(200, Ordering::SeqCst);
    let id = api.transport.holding(|| {
        api.patch("/v1/batches/f", &json!({"status": "completed"})).expect(200);
        api.transport.next();
        let id = newest(&api, "f");
        let delivery = shown(&api, &id);
        assert_eq!((&delivery["status"], &delivery["next_attempt_at"]), (&json!("in_flight"), &Value::Null));
        let attempt = &delivery["attempts"][0];
        assert_eq!((&attempt["duration_ms"], &attempt["status_code"]), (&Value::Null, &Value::Null));
        for force in [false, true] {
            let refused = api.post_nothing(&resend(&id, force));
            refused.expect_problem(409, "attempt_in_flight", Value::Null);
        }
        id
    });
    until_status(&api, &id, "delivered");
}

#[test]
fn a_delivered_one_is_sent_again_only_by_force_and_as_it_was() {
    let api = Api::start();
    let (id, sent) = delivered(&api, "again");
    let refused = api.post_nothing(&resend(&id, false));
    let message = refused.expect_problem(400, "already_delivered", Value::Null);
    assert_eq!(message, "The receiver has it already. Use force=true to send it again.");
    let first = shown(&api, &id);
    let answer = api.post_nothing(&resend(&id, true)).expect(202);
    assert_eq!(answer.body, json!({"id": id, "forced": true}));
    assert_eq!(api.transport.next(), sent, "the very bytes");
    let whole = api.until(&format!("{DELIVERIES}/{id}"), |delivery| delivery["attempts"][1]["status_code"] == 200);
    assert_eq!((&whole["id"], &whole["delivered_at"]), (&first["id"], &first["delivered_at"]), "the first time counts");
    assert_eq!((&whole["attempts"][0], &whole["max_attempts"]), (&first["attempts"][0], &json!(2)));
    assert_eq!(newest(&api, "again"), id, "no second delivery");
    assert_eq!(api.get("/v1/batches/again").body["webhook_status"], "sent");
}

#[test]
fn a_forced_one_that_fails_takes_nothing_back() {
    let api = Api::start();
    let (id, sent) = delivered(&api, "kept");
    let before = shown(&api, &id);
    api.transport.status.store(500, Ordering::SeqCst);
    for attempt in 1..4 {
        api.post_nothing(&resend(&id, true)).expect(202);
        assert_eq!(api.transport.next(), sent);
        let path = format!("{DELIVERIES}/{id}");
        let after = api.until(&path, |delivery| delivery["attempts"][attempt]["error"] == "HTTP 500");
        assert_eq!((&after["status"], &after["delivered_at"]), (&before["status"], &before["delivered_at"]));
        assert_eq!((&after["dead_letter_id"], &after["next_attempt_at"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(api.get(LETTERS).body["total"], 0);
    let batch = api.get("/v1/batches/kept").body;
    assert_eq!((&batch["webhook_status"], &batch["webhook_error"]), (&json!("sent"), &Value::Null));
    let redelivery = ["redelivery_requested", "attempt_started", "attempt_failed"];
    assert_eq!(history(&api, "kept")[5..], [redelivery, redelivery, redelivery].concat(), "and one attempt each");
    api.post_nothing(&resend(&id, false)).expect_problem(400, "already_delivered", Value::Null);
}

#[test]
fn a_dead_one_is_sent_again_and_its_dead_letter_says_so() {
    let api = Api::start();
    let sent = api.dead_letter("dead");
    let id = newest(&api, "dead");
    let dead = shown(&api, &id);
    assert_eq!((&dead["status"], &dead["dead_letter_id"]), (&json!("dead"), &json!(1)));
    let answer = api.post_nothing(&resend(&id, false)).expect(202);
    assert_eq!(answer.body, json!({"id": id, "forced": false}));
    assert_eq!(api.transport.next(), sent);
    api.until(&format!("{LETTERS}/1"), |letter| letter["retry_success"] == false);
    until_status(&api, &id, "dead");
    assert_eq!(api.get(LETTERS).body["total"], 1, "no second one");
    api.transport.status.store(200, Ordering::SeqCst);
    api.post_nothing(&resend(&id, true)).expect(202);
    assert_eq!(api.transport.next(), sent);
    until_status(&api, &id, "delivered");
    assert_eq!(api.get(&format!("{LETTERS}/1")).body["retry_success"], true);
    api.post_nothing(&format!("{LETTERS}/1/retry")).expect_problem(400, "already_retried", Value::Null);

    // A deleted dead letter leaves the delivery as it is.
    api.delete(&format!("{LETTERS}/1")).expect(200);
    api.transport.status.store(500, Ordering::SeqCst);
    api.post_nothing(&resend(&id, true)).expect(202);
    api.transport.next();
    let path = format!("{DELIVERIES}/{id}");
    let after = api.until(&path, |delivery| delivery["attempts"][3]["error"] == "HTTP 500");
    assert_eq!(after["status"], "delivered", "what the receiver has, it has");
    assert_eq!(api.get(LETTERS).body["total"], 0, "and no new one");
}

#[test]
fn a_superseded_one_can_be_sent_all_the_same() {
    let api = Api::start();
    let webhook = json!({"url": HOOK, "events": ["progress", "completed"], "max_retries": 3});
    api.post("/v1/batches", &json!({"id": "s", "webhook": webhook})).expect(200);
    api.patch("/v1/batches/s", &json!({"request_counts": {"completed": 1}})).expect(200);
    let first = api.transport.next();
    let id = newest(&api, "s");
    // It failed, and waits for its second attempt, when news come.
    api.until(&format!("{DELIVERIES}/{id}"), |delivery| delivery["attempts"][0]["error"].is_string());
    api.transport.status.store(200, Ordering::SeqCst);
    api.patch("/v1/batches/s", &json!({"status": "completed"})).expect(200);
    let superseded = until_status(&api, &id, "superseded");
    assert_eq!(superseded["next_attempt_at"], Value::Null);
    api.transport.next();
    until_status(&api, &newest(&api, "s"), "delivered");
    api.post_nothing(&resend(&id, false)).expect(202);
    assert_eq!(api.transport.next(), first, "what it said then");
    let sent = until_status(&api, &id, "delivered");
    assert_eq!((&sent["event"], &sent["attempts"][1]["number"]), (&json!("progress"), &json!(2)));
    assert_eq!(ids(&api.get(&format!("{DELIVERIES}?batch_id=s")).body).len(), 2);
}

#[test]
fn all_attempts_are_shown_and_the_newest_are_listed() {
    let api = Api::start();
    let (id, sent) = delivered(&api, "many");
    let path = format!("{DELIVERIES}/{id}");
    for attempt in 2..=26 {
        api.transport.status.store(if attempt % 2 == 0 { 500 } else { 204 }, Ordering::SeqCst);
        api.post_nothing(&resend(&id, true)).expect(202);
        assert_eq!(api.transport.next(), sent);
        api.until(&path, |delivery| {
            delivery["attempts"]
                .as_array()
                .unwrap()
                .last()
                .is_some_and(|last| last["number"] == attempt && last["status_code"].is_number())
        });
    }
    let numbers = |delivery: &Value| -> Vec<u64> {
        let attempts = delivery["attempts"].as_array().unwrap();
        attempts.iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect()
    };
    let whole = shown(&api, &id);
    assert_eq!(numbers(&whole), (1..=26).collect::<Vec<_>>());
    let codes: Vec<_> = whole["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["status_code"]).collect();
    assert_eq!((codes[0], codes[1], codes[2], codes[25]), (&json!(200), &json!(500), &json!(204), &json!(500)));
    let listed = &api.get(DELIVERIES).body["data"][0];
    assert_eq!(numbers(listed), (7..=26).collect::<Vec<_>>());
    assert_eq!(listed["attempts"].as_array().unwrap()[..], whole["attempts"].as_array().unwrap()[6..]);
}

#[test]
fn lists_are_filtered_and_walked() {
    let api = Api::start();
    for n in 0..7 {
        delivered(&api, &format!("a{n}"));
    }
    for n in 0..3 {
        api.dead_letter(&format!("b{n}"));
    }
    let all = ids(&api.get(DELIVERIES).body);
    assert_eq!(all.len(), 10);
    let walk = |query: &str| {
        let (mut walked, mut after) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("{DELIVERIES}?{query}{after}")).expect(200).body;
            let data = ids(&page);
            assert_eq!(
                (page["first_id"].as_str(), page["last_id"].as_str()),
                (data.first().map(|id| &**id), data.last().map(|id| &**id))
            );
            walked.extend(data);
            if page["has_more"] == false {
                return walked;
            }
            after = format!("&after={}", page["last_id"].as_str().unwrap());
        }
    };
    for limit in [1, 2, 3, 9, 10, 11, 100] {
        assert_eq!(walk(&format!("limit={limit}")), all);
        assert_eq!(walk(&format!("limit={limit}&status=dead")), all[..3]);
        assert_eq!(walk(&format!("limit={limit}&status=delivered&event=completed")), all[3..]);
        assert_eq!(walk(&format!("limit={limit}&event=completed")), all);
        assert_eq!(walk(&format!("limit={limit}&event=failed")), Vec::<String>::new());
    }
    assert_eq!(walk("batch_id=a3"), all[6..7]);
    assert_eq!(walk("batch_id=a3&status=dead"), Vec::<String>::new());
    assert_eq!(walk("batch_id=unknown"), Vec::<String>::new());
    assert_eq!(walk("status=superseded"), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_named() {
    let api = Api::start();
    let unknown = "msg_00000000000000000000000000";
    for id in [unknown, "msg_1", "1", "%ff", "MSG_00000000000000000000000000"] {
        api.get(&format!("{DELIVERIES}/{id}")).expect_problem(404, "not_found", Value::Null);
        api.post_nothing(&resend(id, true)).expect_problem(404, "not_found", Value::Null);
    }
    for (query, param, code) in [
        ("status=sent", "status", "invalid_parameter"),
        ("event=done", "event", "invalid_parameter"),
        ("batch_id=a%20b", "batch_id", "invalid_parameter"),
        ("limit=0", "limit", "invalid_parameter"),
        ("limit=101", "limit", "invalid_parameter"),
        ("after=msg_1", "after", "invalid_parameter"),
        (&format!("after={unknown}"), "after", "invalid_parameter"),
        ("offset=1", "offset", "unknown_parameter"),
        ("status=dead&status=dead", "status", "invalid_parameter"),
    ] {
        api.get(&format!("{DELIVERIES}?{query}")).expect_problem(422, code, param);
    }
    let (id, _) = delivered(&api, "w");
    api.post(&resend(&id, true), &json!({"force": true})).expect_problem(422, "unknown_field", "force");
    api.post_nothing(&format!("{DELIVERIES}/{id}/resend?force=1")).expect_problem(422, "invalid_parameter", "force");
    api.post_nothing(&format!("{DELIVERIES}/{id}/resend?wait=true")).expect_problem(422, "unknown_parameter", "wait");
    assert_eq!(api.get(&format!("{DELIVERIES}/{id}/resend")).expect(405).header("allow"), Some("POST"));
    assert_eq!(shown(&api, &id)["attempts"].as_array().unwrap().len(), 1);
}
