//! Idempotency keys: a repeated request gets the first answer, byte for byte, and changes nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;

use hookledger::domain::id::{JobId, Seq};
use hookledger::domain::job::JobSpec;
use hookledger::log::{EventLog, Order};
use serde_json::{Value, json};

use crate::fixture::{Answer, Api, HOOK, PATIENCE};

const LETTERS: &str = "/v1/webhooks/dead-letter";

fn tail(api: &Api) -> Seq {
    api.log.reader().tail()
}

/// What makes an answer: all but the id of the request.
fn whole(answer: &Answer) -> (u16, Option<&str>, Option<&str>, &str) {
    (answer.status, answer.header("etag"), answer.header("content-type"), &answer.text)
}

/// Asks, and asks again: the same answer, and nothing is recorded anew.
#[track_caller]
fn asked_twice(api: &Api, key: &str, path: &str, body: &str, status: u16) -> Answer {
    let first = api.post_once(key, path, body).expect(status);
    assert_eq!(first.header("idempotent-replayed"), None, "{path}");
    for status in ["pending", "in_flight"] {
        api.until(&format!("/v1/webhooks/deliveries?status={status}"), |list| list["first_id"].is_null());
    }
    let before = tail(api);
    for _ in 0..2 {
        let again = api.post_once(key, path, body);
        assert_eq!(whole(&again), whole(&first), "{path}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path}");
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    }
    assert_eq!(tail(api), before, "{path}");
    first
}

/// A delivery that has come to be delivered.
fn delivered(api: &Api, id: &str) -> String {
    api.batch_with_webhook(id);
    api.transport.status.store(200, Ordering::SeqCst);
    api.patch(&format!("/v1/batches/{id}"), &json!({"status": "completed"})).expect(200);
    api.transport.next();
    api.until(&format!("/v1/batches/{id}"), |batch| batch["webhook_status"] == "sent");
    let list = api.get(&format!("/v1/webhooks/deliveries?batch_id={id}")).expect(200).body;
    list["data"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn every_post_is_carried_out_once() {
    let api = Api::start();
    let created = asked_twice(&api, "create", "/v1/batches", r#"{"metadata": {"a": "b"}}"#, 200);
    assert_eq!(created.header("etag"), Some("\"1\""));
    let id = created.body["id"].as_str().unwrap();
    assert_eq!(api.get("/v1/batches").body["data"].as_array().unwrap().len(), 1);

    let cancelled = asked_twice(&api, "cancel", &format!("/v1/batches/{id}/cancel"), "", 200);
    assert_eq!((cancelled.header("etag"), &cancelled.body["status"]), (Some("\"2\""), &json!("cancelling")));
    // The answer is the one that was given, also when the batch has changed since.
    api.patch(&format!("/v1/batches/{id}"), &json!({"status": "cancelled"})).expect(200);
    let again = api.post_once("cancel", &format!("/v1/batches/{id}/cancel"), "");
    assert_eq!(whole(&again), whole(&cancelled));

    let delivery = delivered(&api, "d");
    asked_twice(&api, "resend", &format!("/v1/webhooks/deliveries/{delivery}/resend?force=true"), "", 202);
    api.transport.next();

    api.dead_letter("x");
    let retried = asked_twice(&api, "retry", &format!("{LETTERS}/1/retry"), "{}", 200);
    assert_eq!(retried.body["retry_success"], false);
    api.transport.next();
    asked_twice(&api, "unwaited", &format!("{LETTERS}/1/retry?wait=false"), "", 202);
    api.transport.next();
    api.until(&format!("{LETTERS}/1"), |letter| letter["attempt_history"][2]["error"].is_string());

    let bulk = asked_twice(&api, "many", &format!("{LETTERS}/retry"), r#"{"resolved": false}"#, 202);
    assert_eq!(bulk.body, json!({"matched": 1, "queued": 1, "skipped": 0}));
    api.transport.next();
    api.until(&format!("{LETTERS}/1"), |letter| letter["attempt_history"][3]["error"].is_string());
    let purged = asked_twice(&api, "purge", &format!("{LETTERS}/purge"), r#"{"resolved": false}"#, 200);
    assert_eq!(purged.body, json!({"deleted": 1}));
    assert!(api.transport.attempts.lock().unwrap().try_recv().is_err(), "nothing was sent twice");
}

#[test]
fn what_was_only_tried_is_an_answer_too() {
    let api = Api::start();
    api.dead_letter("x");
    for (key, path, expected) in
        [("r", "retry", json!({"matched": 1, "queued": 1, "skipped": 0})), ("p", "purge", json!({"deleted": 1}))]
    {
        let status = if path == "retry" { 202 } else { 200 };
        let body = r#"{"event": "completed", "dry_run": true}"#;
        let first = asked_twice(&api, key, &format!("{LETTERS}/{path}"), body, status);
        assert_eq!(first.body, expected);
        let other = api.post_once(key, &format!("{LETTERS}/{path}"), r#"{"event": "completed"}"#);
        other.expect_problem(422, "idempotency_key_reused", Value::Null);
    }
    assert_eq!(api.get(LETTERS).body["total"], 1);
}

#[test]
fn another_request_under_the_key_is_refused() {
    let api = Api::start();
    api.dead_letter("x");
    let resent = format!("{LETTERS}/1/retry?wait=false&force=true");
    api.post_once("k", "/v1/batches", r#"{"id": "k", "priority": 1}"#).expect(200);
    api.post_once("q", &resent, "").expect(202);
    let before = tail(&api);
    for (key, path, body) in [
        ("k", "/v1/batches", r#"{"id": "k", "priority": 0}"#),
        ("k", "/v1/batches", r#"{"id": "k"}"#),
        ("k", "/v1/batches", r#"{"id": "k", "priority": 1, "metadata": {}}"#),
        ("k", "/v1/batches", r#"{"id": "k", "priority": "1"}"#),
        ("k", "/v1/batches/k/cancel", ""),
        ("k", "/v1/batches?x=1", r#"{"id": "k", "priority": 1}"#),
        ("q", "/v1/webhooks/dead-letter/1/retry?wait=false", ""),
        ("q", "/v1/webhooks/dead-letter/1/retry?force=true&wait=false", ""),
        ("q", "/v1/webhooks/dead-letter/2/retry?wait=false&force=true", ""),
        ("q", &resent, "{}"),
    ] {
        let refused = api.post_once(key, path, body);
        refused.expect_problem(422, "idempotency_key_reused", Value::Null);
        assert_eq!(refused.header("idempotent-replayed"), None);
    }
    api.until(&format!("{LETTERS}/1"), |letter| letter["retry_success"] == false);
    assert!(api.get("/v1/batches/k/history").body["data"].as_array().unwrap().len() == 1 && tail(&api) >= before);
}

#[test]
fn the_order_of_members_and_spaces_do_not_matter() {
    let api = Api::start();
    let first = r#"{"id":"o","metadata":{"a":"1","b":"A"},"request_counts":{"total":3,"completed":1}}"#;
    let first = api.post_once("o", "/v1/batches", first).expect(200);
    let same = "\n{ \"request_counts\" : {\"completed\":1 ,\"total\":3},\t\"metadata\":{\"b\":\"\\u0041\",\"a\":\"1\"} , \"id\":\"o\"}";
    let again = api.post_once("o", "/v1/batches", same);
    assert_eq!((whole(&again), again.header("idempotent-replayed")), (whole(&first), Some("true")));
    let order = |errors: &str| format!(r#"{{"id":"e","errors":{errors}}}"#);
    api.post_once("e", "/v1/batches", &order(r#"[{"code":"1"},{"code":"2"}]"#)).expect(200);
    let other = api.post_once("e", "/v1/batches", &order(r#"[{"code":"2"},{"code":"1"}]"#));
    other.expect_problem(422, "idempotency_key_reused", Value::Null);
}

#[test]
fn while_the_first_is_under_way_the_key_is_in_use() {
    let api = Api::start();
    api.dead_letter("w");
    api.transport.status.store(200, Ordering::SeqCst);
    let path = format!("{LETTERS}/1/retry");
    thread::scope(|scope| {
        let first = api.transport.holding(|| {
            let first = scope.spawn(|| api.post_once("busy", &path, ""));
            api.transport.next();
            for path in [path.as_str(), "/v1/batches"] {
                let second = api.post_once("busy", path, "");
                second.expect_problem(409, "idempotency_key_in_use", Value::Null);
            }
            first
        });
        let first = first.join().unwrap().expect(200);
        assert_eq!(first.body["retry_success"], true);
        let again = api.post_once("busy", &path, "");
        assert_eq!((whole(&again), again.header("idempotent-replayed")), (whole(&first), Some("true")));
    });
}

#[test]
fn a_client_that_goes_away_finds_the_answer_when_it_comes_back() {
    let api = Api::start();
    api.dead_letter("g");
    api.transport.status.store(200, Ordering::SeqCst);
    let path = format!("{LETTERS}/1/retry");
    api.transport.holding(|| {
        let mut socket = TcpStream::connect(api.address).unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: gone\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        api.transport.next();
        drop(socket);
        // Whether or not the server has noticed, the request is carried out.
        let in_use = api.post_once("gone", &path, "");
        in_use.expect_problem(409, "idempotency_key_in_use", Value::Null);
    });
    let watch = hookledger::clock::Stopwatch::start();
    let answer = loop {
        let answer = api.post_once("gone", &path, "");
        if answer.status != 409 {
            break answer.expect(200);
        }
        assert!(watch.elapsed() < PATIENCE);
    };
    assert_eq!((&answer.body["retry_success"], answer.header("idempotent-replayed")), (&json!(true), Some("true")));
    assert!(api.transport.attempts.lock().unwrap().try_recv().is_err(), "one attempt");
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_request_has_asked_for_nothing() {
    let api = Api::start();
    let mut socket = TcpStream::connect(api.address).unwrap();
    let head = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: half\r\n\
                Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"id\":";
    socket.write_all(head.as_bytes()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = socket.read_to_end(&mut Vec::new());
    assert_eq!(tail(&api), Seq::ZERO);
    let answer = api.post_once("half", "/v1/batches", r#"{"id":"h"}"#).expect(200);
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[test]
fn a_key_is_checked() {
    let api = Api::start();
    let post = |lines: &[u8]| {
        let mut request = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".to_vec();
        request.extend(b"Content-Type: application/json\r\nContent-Length: 2\r\n");
        request.extend(lines);
        request.extend(b"\r\n{}");
        api.send_raw(&request)
    };
    for bad in [
        b"Idempotency-Key:\r\n".to_vec(),
        b"Idempotency-Key:   \r\n".to_vec(),
        format!("Idempotency-Key: {}\r\n", "k".repeat(256)).into_bytes(),
        b"Idempotency-Key: a\tb\r\n".to_vec(),
        "Idempotency-Key: sch\u{f6}n\r\n".as_bytes().to_vec(),
        b"Idempotency-Key: a\r\nIdempotency-Key: a\r\n".to_vec(),
        b"Idempotency-Key: a\r\nidempotency-key: b\r\n".to_vec(),
    ] {
        post(&bad).expect_problem(400, "invalid_idempotency_key", Value::Null);
    }
    for control in ["\x01", "\x7f"] {
        let mut socket = TcpStream::connect(api.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIdempotency-Key: a{control}b\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(tail(&api), Seq::ZERO, "nothing of it was done");
    for good in ["k".repeat(255), "~".into(), "a key of words, \"quoted\"".into()] {
        let answer = post(format!("Idempotency-Key: {good}\r\n").as_bytes()).expect(200);
        assert_eq!(answer.header("idempotent-replayed"), None);
        let again = post(format!("Idempotency-Key:  {good} \r\n").as_bytes()).expect(200);
        assert_eq!((&again.text, again.header("idempotent-replayed")), (&answer.text, Some("true")));
    }
}

#[test]
fn refusals_for_what_is_there_are_kept() {
    let api = Api::start();
    let refused = asked_twice(&api, "404", "/v1/batches/later/cancel", "", 404);
    api.post("/v1/batches", &json!({"id": "later", "status": "completed"})).expect(200);
    let again = api.post_once("404", "/v1/batches/later/cancel", "");
    assert_eq!(whole(&again), whole(&refused), "the first answer, whatever has come since");
    again.expect_problem(404, "not_found", Value::Null);

    let refused = asked_twice(&api, "409", "/v1/batches/later/cancel", "", 409);
    refused.expect_problem(409, "illegal_transition", Value::Null);
    let refused = asked_twice(&api, "taken", "/v1/batches", r#"{"id": "later"}"#, 409);
    refused.expect_problem(409, "id_taken", Value::Null);

    api.dead_letter("x");
    api.transport.status.store(200, Ordering::SeqCst);
    api.post_nothing(&format!("{LETTERS}/1/retry")).expect(200);
    let refused = asked_twice(&api, "400", &format!("{LETTERS}/1/retry"), "", 400);
    refused.expect_problem(400, "already_retried", Value::Null);
    let delivery = api.get(&format!("{LETTERS}/1")).body["delivery_id"].as_str().unwrap().to_owned();
    let refused = asked_twice(&api, "sent", &format!("/v1/webhooks/deliveries/{delivery}/resend"), "", 400);
    refused.expect_problem(400, "already_delivered", Value::Null);
}

#[test]
fn refusals_that_may_end_are_not_kept() {
    let api = Api::start();
    let invalid = api.post_once("k", "/v1/batches", r#"{"id": "k", "priority": 7}"#);
    invalid.expect_problem(422, "invalid_priority", "priority");
    api.post_once("k", "/v1/batches", r#"{"id": "k", "prioriti": 1}"#).expect_problem(422, "unknown_field", "prioriti");
    api.post_once("k", "/v1/batches", "{").expect(400);
    api.send("POST", "/v1/batches", &[("Idempotency-Key", "k"), ("Content-Type", "text/plain")], b"{}").expect(415);
    let corrected = api.post_once("k", "/v1/batches", r#"{"id": "k", "priority": 1}"#).expect(200);
    assert_eq!(corrected.header("idempotent-replayed"), None);

    api.dead_letter("x");
    let path = format!("{LETTERS}/1/retry?wait=false");
    api.transport.holding(|| {
        api.post_nothing(&path).expect(202);
        api.transport.next();
        api.post_once("r", &path, "").expect_problem(409, "attempt_in_flight", Value::Null);
        api.post_once("r", &path, "").expect_problem(409, "attempt_in_flight", Value::Null);
    });
    api.until(&format!("{LETTERS}/1"), |letter| letter["retry_success"] == false);
    api.post_once("r", &path, "").expect(202);

    api.overloaded(|| {
        api.post_once("o", "/v1/batches", "{}").expect_problem(429, "overloaded", Value::Null);
    });
    assert_eq!(api.post_once("o", "/v1/batches", "{}").expect(200).header("idempotent-replayed"), None);

    api.faults.fail.store(true, Ordering::SeqCst);
    api.post_once("f", "/v1/batches", "{}").expect(503);
    let api = api.restart();
    let answer = api.post_once("f", "/v1/batches", "{}").expect(200);
    assert_eq!(answer.header("idempotent-replayed"), None, "what failed was not stored here");
}

#[test]
fn concurrent_requests_under_one_key_are_one() {
    let api = Api::start();
    let ask = || {
        let watch = hookledger::clock::Stopwatch::start();
        loop {
            let answer = api.post_once("race", "/v1/batches", r#"{"metadata": {"who": "all"}}"#);
            match answer.status {
                409 => answer.expect_problem(409, "idempotency_key_in_use", Value::Null),
                _ => return answer.expect(200),
            };
            assert!(watch.elapsed() < PATIENCE);
        }
    };
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| whole(answer) == whole(&answers[0])));
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count(), 1);
    assert_eq!(api.get("/v1/batches").body["data"].as_array().unwrap().len(), 1);
    assert_eq!(tail(&api), Seq(1));
}

/// Control characters take six bytes each in JSON, so that the answer is larger than what one row holds.
#[test]
fn an_answer_may_take_several_rows() {
    let api = Api::start();
    let metadata: Value =
        (0..16).map(|n| (format!("{n:02}{}", "\u{1}".repeat(62)), json!("\u{2}".repeat(512)))).collect();
    let errors = json!([{"message": "\u{3}".repeat(4000)}]);
    let body = json!({"id": "large", "metadata": metadata, "errors": errors}).to_string();
    let first = asked_twice(&api, "large", "/v1/batches", &body, 200);
    assert!(first.text.len() > 64 * 1024, "{}", first.text.len());
    let rows = api.log.reader().rows(b"k", Order::Ascending, None, 9).unwrap();
    assert!(rows.len() >= 2, "{} rows", rows.len());
    let api = api.restart();
    assert_eq!(whole(&api.post_once("large", "/v1/batches", &body)), whole(&first));
}

#[test]
fn other_methods_do_not_look_at_it() {
    let api = Api::start();
    api.post_once("k", "/v1/batches", r#"{"id": "a"}"#).expect(200);
    let patch = |key: &str, completed: u32| {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        let body = json!({"request_counts": {"completed": completed}}).to_string();
        api.send("PATCH", "/v1/batches/a", &headers, body.as_bytes()).expect(200)
    };
    assert_eq!(patch("k", 1).header("etag"), Some("\"2\""));
    assert_eq!(patch("k", 2).header("etag"), Some("\"3\""));
    assert_eq!(patch("", 3).header("etag"), Some("\"4\""));
    for key in ["k", "", &"k".repeat(300)] {
        let answer = api.send("GET", "/v1/batches/a", &[("Idempotency-Key", key)], b"").expect(200);
        assert_eq!(answer.body["request_counts"]["completed"], 3);
        api.send("DELETE", &format!("{LETTERS}/9"), &[("Idempotency-Key", key)], b"").expect(404);
    }
}

#[test]
fn kept_answers_outlive_a_restart() {
    let api = Api::start();
    api.dead_letter("x");
    let created = api.post_once("c", "/v1/batches", "{}").expect(200);
    let retried = api.post_once("r", &format!("{LETTERS}/1/retry"), "").expect(200);
    let refused = api.post_once("n", "/v1/batches/none/cancel", "").expect(404);
    let api = api.restart();
    for (key, path, body, first) in [
        ("c", "/v1/batches", "{}", &created),
        ("r", "/v1/webhooks/dead-letter/1/retry", "", &retried),
        ("n", "/v1/batches/none/cancel", "", &refused),
    ] {
        let again = api.post_once(key, path, body);
        assert_eq!((whole(&again), again.header("idempotent-replayed")), (whole(first), Some("true")));
    }
}

/// What its attempt comes to is not known when the process ends first; that the retry was asked for is.
#[test]
fn a_retry_that_the_end_cut_off_is_not_made_twice() {
    let mut api = Api::start();
    api.dead_letter("x");
    let path = format!("{LETTERS}/1/retry");
    let store = api.log.reopen();
    thread::scope(|scope| {
        let api = &api;
        api.transport.holding(|| {
            let first = scope.spawn(|| api.post_once("cut", &path, ""));
            api.transport.next();
            api.faults.fail.store(true, Ordering::SeqCst);
            // The engine's next commit fails, and it tells everybody.
            let _ = api.handle().register(JobId::new("none").unwrap(), JobSpec::default(), None).wait();
            first.join().unwrap().expect(503);
        });
    });
    api.stop();
    api.join();
    drop(api);
    let api = Api::start_on(&store, hookledger::api::ApiOptions::default());
    api.transport.next();
    let again = api.post_once("cut", &path, "").expect(200);
    assert_eq!((&again.body["retry_success"], again.header("idempotent-replayed")), (&Value::Null, Some("true")));
    api.until(&format!("{LETTERS}/1"), |letter| letter["retry_success"] == false);
    assert_eq!(api.get(&format!("{LETTERS}/1")).body["attempts"], 2);
    assert_eq!(api.get(&format!("{LETTERS}/1")).body["webhook_url"], HOOK);
}
