//! Who is let in, with API keys.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use hookledger::api::{ApiOptions, Keys};
use hookledger::clock::Stopwatch;
use serde_json::{Value, json};

use crate::fixture::{Answer, Api, PATIENCE};

const FIRST: &str = "first-must-never-be-answered";
const SECOND: &str = "second/must.never~be+answered==";

/// The hash of "third".
const HASHED: &str = "sha256:b1e99324505bd32da0e1f85dcf5e19a09db0481e8a15f62c41eb320304a8e927";

fn with_delay(wrong_key_delay: Duration) -> Api {
    let keys = Keys::new([FIRST, SECOND, HASHED]).unwrap();
    Api::start_with(ApiOptions { keys, wrong_key_delay, grace: Duration::ZERO, ..ApiOptions::default() })
}

fn start() -> Api {
    with_delay(Duration::ZERO)
}

fn get(api: &Api, path: &str, authorizations: &[&str]) -> Answer {
    let headers: Vec<_> = authorizations.iter().map(|value| ("Authorization", *value)).collect();
    api.send("GET", path, &headers, b"")
}

#[track_caller]
fn expect_refusal(answer: &Answer, code: &str, challenge: &str) {
    answer.expect_problem(401, code, Value::Null);
    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{answer:?}");
}

#[test]
fn every_key_opens_and_the_schemes_case_does_not_matter() {
    let api = start();
    for given in [
        format!("Bearer {FIRST}"),
        format!("Bearer {SECOND}"),
        "Bearer third".into(),
        format!("bearer {FIRST}"),
        format!("BEARER  {SECOND}"),
    ] {
        let answer = get(&api, "/v1/batches", &[&given]).expect(200);
        assert_eq!(answer.header("www-authenticate"), None, "{given}");
    }
    let headers = [("Authorization", &*format!("Bearer {FIRST}")), ("Content-Type", "application/json")];
    api.send("POST", "/v1/batches", &headers, b"{\"id\": \"a\"}").expect(200);
}

#[test]
fn a_wrong_key_is_told_from_none() {
    let api = start();
    let wrong = "Bearer error=\"invalid_token\"";
    for given in [&FIRST[1..], &FIRST.to_uppercase(), "x", HASHED, &format!("{FIRST} {FIRST}"), &format!("{FIRST},")] {
        let answer = get(&api, "/v1/batches", &[&format!("Bearer {given}")]);
        expect_refusal(&answer, "invalid_api_key", wrong);
    }
    expect_refusal(&get(&api, "/v1/batches", &[]), "missing_api_key", "Bearer");
    for given in ["", "Bearer", "Bearer ", FIRST, &format!("Basic {FIRST}"), &format!("Token {FIRST}")] {
        let answer = get(&api, "/v1/batches", &[given]);
        expect_refusal(&answer, "missing_api_key", "Bearer");
    }
    let right = format!("Bearer {FIRST}");
    for both in [[&*right, &*right], [&*right, "Bearer x"], ["Basic x", &*right]] {
        let answer = get(&api, "/v1/batches", &both);
        answer.expect_problem(400, "malformed_authorization", Value::Null);
    }
}

#[test]
fn everything_needs_a_key_but_the_probes() {
    let api = start();
    let right = format!("Bearer {FIRST}");
    for path in ["/health", "/ready"] {
        get(&api, path, &[]).expect(200);
        get(&api, path, &["Bearer x"]).expect(200);
    }
    for (path, status) in
        [("/nowhere", 404), ("/dashboard", 404), ("/v1/batches/none", 404), ("/v1/batches/a/cancel", 405)]
    {
        expect_refusal(&get(&api, path, &[]), "missing_api_key", "Bearer");
        get(&api, path, &[&right]).expect(status);
    }
    for (method, path) in
        [("POST", "/v1/batches"), ("PATCH", "/v1/batches/a"), ("DELETE", "/v1/webhooks/dead-letter/1")]
    {
        let answer =
            api.send(method, path, &[("Content-Type", "application/json")], json!({"id": "a"}).to_string().as_bytes());
        expect_refusal(&answer, "missing_api_key", "Bearer");
    }
    get(&api, "/v1/batches/a", &[&right]).expect(404);
}

#[test]
fn the_description_says_whether_a_key_is_needed() {
    let right = format!("Bearer {FIRST}");
    let needed = get(&start(), "/openapi.json", &[&right]).expect(200).body;
    assert_eq!(needed["security"], json!([{"key": []}]));
    assert_eq!(needed["paths"]["/health"]["get"]["security"], json!([{}]));
    assert_eq!(Api::start().get("/openapi.json").expect(200).body["security"], json!([{"key": []}, {}]));
}

#[test]
fn with_keys_any_host_is_answered() {
    let api = start();
    let ask = |hosts: &str, authorization: &str| {
        let head = format!("GET /v1/batches HTTP/1.1\r\n{hosts}{authorization}Connection: close\r\n\r\n");
        api.send_raw(head.as_bytes())
    };
    let right = format!("Authorization: Bearer {FIRST}\r\n");
    for host in ["hooks.example", "10.0.0.1:4080", "localhost"] {
        ask(&format!("Host: {host}\r\n"), &right).expect(200);
        expect_refusal(&ask(&format!("Host: {host}\r\n"), ""), "missing_api_key", "Bearer");
    }
    ask("Host: a\r\nHost: b\r\n", &right).expect_problem(400, "malformed_host", Value::Null);
    expect_refusal(
        &ask("Host: localhost\r\n", "Authorization: Bearer \u{e4}\r\n"),
        "invalid_api_key",
        "Bearer error=\"invalid_token\"",
    );
}

#[test]
fn a_wrong_key_waits_and_holds_up_nobody_else() {
    let delay = Duration::from_millis(200);
    let api = with_delay(delay);
    let watch = Stopwatch::start();
    get(&api, "/v1/batches", &["Bearer x"]).expect(401);
    assert!(watch.elapsed() >= delay);
    let api = with_delay(PATIENCE / 2);
    let mut waiting = TcpStream::connect(api.address).unwrap();
    waiting.write_all(b"GET /v1/batches HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n").unwrap();
    let watch = Stopwatch::start();
    get(&api, "/v1/batches", &[&format!("Bearer {FIRST}")]).expect(200);
    get(&api, "/v1/batches", &[]).expect(401);
    assert!(watch.elapsed() < PATIENCE / 2);
}
