//! Dead letters: seeing, filtering, retrying, deleting.

use std::sync::atomic::Ordering;
use std::thread;

use serde_json::{Value, json};

use crate::fixture::{Api, HOOK};

const LETTERS: &str = "/v1/webhooks/dead-letter";

#[test]
fn a_dead_letter_shows_what_was_sent_and_what_came_of_it() {
    let api = Api::start();
    let sent = api.dead_letter("d");
    let list = api.get(LETTERS).expect(200).body;
    let mut letter = list["data"][0].clone();
    let (at, made) = (letter["last_attempt_at"].clone(), letter["created_at"].clone());
    assert!(at.as_str().unwrap().ends_with('Z') && made.as_str().unwrap().ends_with('Z'));
    let delivery = letter["delivery_id"].clone();
    let expected = json!({
        "id": 1, "batch_id": "d", "webhook_url": HOOK, "event": "completed", "delivery_id": delivery,
        "error_message": "HTTP 500", "attempts": 1, "last_attempt_at": at, "created_at": made, "retried_at": null,
        "retry_success": null,
    });
    assert_eq!(list, json!({"object": "list", "data": [expected], "has_more": false, "total": 1}));

    api.post_nothing(&format!("{LETTERS}/1/retry")).expect(200);
    let whole = api.get(&format!("{LETTERS}/1")).expect(200).body;
    letter = whole.clone();
    let attempts = letter["attempt_history"].as_array().unwrap();
    assert_eq!(whole["payload"], Value::String(sent.clone()));
    assert_eq!(attempts.iter().map(|attempt| attempt["number"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let first = json!({
        "number": 1, "started_at": at, "duration_ms": 7, "status_code": 500, "error": "HTTP 500",
        "response_excerpt": "an excerpt",
    });
    assert_eq!(attempts[0], first);
    assert_eq!((&whole["attempts"], &whole["retry_success"]), (&json!(2), &json!(false)));
    assert_eq!(api.transport.next(), sent, "the very bytes again");
}

#[test]
fn a_retry_that_succeeded_is_not_repeated_unless_forced() {
    let api = Api::start();
    let sent = api.dead_letter("r");
    api.transport.status.store(200, Ordering::SeqCst);
    let retried = api.post_nothing(&format!("{LETTERS}/1/retry")).expect(200).body;
    let at = retried["retried_at"].clone();
    assert!(at.is_string());
    assert_eq!(retried, json!({"id": 1, "batch_id": "r", "retry_success": true, "retried_at": at, "forced": false}));
    let refused = api.post_nothing(&format!("{LETTERS}/1/retry"));
    let message = refused.expect_problem(400, "already_retried", Value::Null);
    assert_eq!(message, "Webhook already successfully retried. Use force=true to retry anyway.");
    let forced = api.post_nothing(&format!("{LETTERS}/1/retry?force=true")).expect(200).body;
    assert_eq!((&forced["forced"], &forced["retry_success"]), (&json!(true), &json!(true)));
    assert_eq!((api.transport.next(), api.transport.next()), (sent.clone(), sent));
    assert_eq!(api.get("/v1/batches/r").body["webhook_status"], "sent");
    assert_eq!(api.get(&format!("{LETTERS}?resolved=true")).body["total"], 1);
    assert_eq!(api.get(LETTERS).body["total"], 1, "no retry makes a second one");
}

#[test]
fn a_retry_need_not_be_waited_for_and_only_one_is_under_way() {
    let api = Api::start();
    api.dead_letter("w");
    api.transport.status.store(200, Ordering::SeqCst);
    api.transport.holding(|| {
        let answer = api.post_nothing(&format!("{LETTERS}/1/retry?wait=false")).expect(202);
        let expected = json!({"id": 1, "batch_id": "w", "retry_success": null, "retried_at": null, "forced": false});
        assert_eq!(answer.body, expected);
        api.transport.next();
        let second = api.post_nothing(&format!("{LETTERS}/1/retry?force=true"));
        second.expect_problem(409, "attempt_in_flight", Value::Null);
    });
    api.until(&format!("{LETTERS}/1"), |letter| letter["retry_success"] == true);
}

#[test]
fn a_retry_is_waited_for() {
    let api = Api::start();
    api.dead_letter("s");
    api.transport.status.store(204, Ordering::SeqCst);
    thread::scope(|scope| {
        let waiting = api.transport.holding(|| {
            let waiting = scope.spawn(|| api.send("POST", &format!("{LETTERS}/1/retry"), &[], b""));
            api.transport.next();
            waiting
        });
        assert_eq!(waiting.join().unwrap().expect(200).body["retry_success"], true);
    });
}

#[test]
fn a_deleted_one_is_gone() {
    let api = Api::start();
    api.dead_letter("x");
    assert_eq!(api.delete(&format!("{LETTERS}/1")).expect(200).body, json!({"deleted": true, "id": 1}));
    api.delete(&format!("{LETTERS}/1")).expect_problem(404, "not_found", Value::Null);
    api.get(&format!("{LETTERS}/1")).expect_problem(404, "not_found", Value::Null);
    let expected = json!({"object": "list", "data": [], "has_more": false, "total": 0});
    assert_eq!(api.get(LETTERS).body, expected);
    let history = api.get("/v1/batches/x/history").body;
    assert_eq!(history["data"].as_array().unwrap().last().unwrap()["type"], "dead_letter_deleted");
}

#[test]
fn what_is_no_dead_letter_is_not_found() {
    let api = Api::start();
    for id in ["7", "0", "-1", "+1", "one", "99999999999999999999", "%ff"] {
        api.get(&format!("{LETTERS}/{id}")).expect_problem(404, "not_found", Value::Null);
        api.delete(&format!("{LETTERS}/{id}")).expect_problem(404, "not_found", Value::Null);
        api.post_nothing(&format!("{LETTERS}/{id}/retry")).expect_problem(404, "not_found", Value::Null);
    }
}

#[test]
fn lists_are_paged_and_filtered() {
    let api = Api::start();
    for id in ["a", "b", "c", "e"] {
        api.dead_letter(id);
    }
    let ids = |query: &str| {
        let page = api.get(&format!("{LETTERS}?{query}")).expect(200).body;
        let ids =
            page["data"].as_array().unwrap().iter().map(|letter| letter["id"].as_u64().unwrap()).collect::<Vec<_>>();
        (ids, page["has_more"].as_bool().unwrap(), page["total"].as_u64().unwrap())
    };
    assert_eq!(ids(""), (vec![4, 3, 2, 1], false, 4));
    assert_eq!(ids("limit=3"), (vec![4, 3, 2], true, 4));
    assert_eq!(ids("limit=3&offset=3"), (vec![1], false, 4));
    assert_eq!(ids("limit=2&offset=2"), (vec![2, 1], false, 4));
    assert_eq!(ids("offset=9"), (vec![], false, 4));
    assert_eq!(ids("offset=9223372036854775807"), (vec![], false, 4));
    assert_eq!(ids("batch_id=b"), (vec![2], false, 1));
    assert_eq!(ids("event=completed&limit=1&offset=1"), (vec![3], true, 4));
    assert_eq!(ids("event=failed"), (vec![], false, 0));
    assert_eq!(ids("url=https%3A%2F%2Freceiver.example%2Fhook&resolved=false&limit=4"), (vec![4, 3, 2, 1], false, 4));
    assert_eq!(ids("url=https://other.example/"), (vec![], false, 0));
    assert_eq!(ids("resolved=true"), (vec![], false, 0));
    let third = api.get(&format!("{LETTERS}/3")).body["created_at"].as_str().unwrap().to_owned();
    let (since, until) = (ids(&format!("since={third}")).0, ids(&format!("until={third}")).0);
    assert!(since.contains(&3) && !until.contains(&3), "{since:?} {until:?}");
    assert_eq!([since, until].concat(), [4, 3, 2, 1]);
}
