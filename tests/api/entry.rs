//! What every request passes: paths, methods, hosts, request ids, and the server's end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use hookledger::api::ApiOptions;
use hookledger::clock::Stopwatch;
use serde_json::{Value, json};

use crate::fixture::{Api, PATIENCE};

#[test]
fn unknown_paths_and_methods_are_refused() {
    let api = Api::start();
    for path in ["/dashboard", "/dashboard/x", "/v1", "/v1/batches/", "/v2/batches", "/v1/batches/a/b/c"] {
        api.get(path).expect_problem(404, "not_found", Value::Null);
    }
    for (method, path, allow) in [
        ("PUT", "/v1/batches", "GET,HEAD,POST"),
        ("DELETE", "/v1/batches/a", "GET,HEAD,PATCH"),
        ("GET", "/v1/batches/a/cancel", "POST"),
        ("POST", "/v1/batches/a/history", "GET,HEAD"),
        ("POST", "/v1/webhooks/dead-letter", "GET,HEAD"),
        ("PATCH", "/v1/webhooks/dead-letter/1", "GET,HEAD,DELETE"),
        ("DELETE", "/v1/webhooks/dead-letter/1/retry", "POST"),
        ("POST", "/health", "GET,HEAD"),
    ] {
        let answer = api.send(method, path, &[], b"");
        answer.expect_problem(405, "method_not_allowed", Value::Null);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[test]
fn a_request_id_is_the_clients_or_a_new_one() {
    let api = Api::start();
    let id = |given: &str, path: &str| {
        let answer = api.send("GET", path, &[("X-Request-Id", given)], b"");
        answer.header("x-request-id").unwrap().to_owned()
    };
    for path in ["/health", "/v1/batches", "/nowhere"] {
        assert_eq!(id("trace-1:2.3_4", path), "trace-1:2.3_4");
        let made = id("not one", path);
        assert_ne!(made, id(&"x".repeat(129), path));
        let digits = made.strip_prefix("req_").unwrap();
        assert!(digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    }
}

#[test]
fn without_keys_only_loopback_names_are_answered() {
    let api = Api::start();
    let get = |path: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().flat_map(|host| ["Host: ", host, "\r\n"]).collect();
        api.send_raw(format!("GET {path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes())
    };
    for host in ["localhost", "LOCALHOST:4080", "127.0.0.1:1", "127.1.2.3", "[::1]", "[::1]:4080"] {
        get("/v1/batches", &[host]).expect(200);
    }
    for hosts in [&["evil.example"][..], &["localhost.evil.example"], &["10.0.0.1"], &[""], &[]] {
        get("/v1/batches", hosts).expect_problem(403, "host_not_allowed", Value::Null);
        get("/nowhere", hosts).expect_problem(403, "host_not_allowed", Value::Null);
        get("/health", hosts).expect(200);
        get("/ready", hosts).expect(200);
    }
    get("http://evil.example/v1/batches", &["localhost"]).expect_problem(403, "host_not_allowed", Value::Null);
    get("http://localhost/v1/batches", &["localhost"]).expect(200);
    get("/v1/batches", &["localhost", "evil.example"]).expect_problem(400, "malformed_host", Value::Null);
}

#[test]
fn without_keys_other_sites_pages_change_nothing() {
    let api = Api::start();
    let own = format!("http://{}", api.address);
    let post = |headers: &[(&str, &str)]| api.send("POST", "/v1/batches", headers, b"");
    let json = ("Content-Type", "application/json");
    for header in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        post(&[header]).expect_problem(403, "cross_site_request", Value::Null);
        api.send("POST", "/v1/webhooks/dead-letter/1/retry", &[header], b"").expect(403);
        api.send("DELETE", "/v1/webhooks/dead-letter/1", &[header], b"").expect(403);
        api.send("GET", "/v1/batches", &[header], b"").expect(200);
    }
    for headers in [&[json, ("Origin", &own)][..], &[json, ("Sec-Fetch-Site", "same-origin")], &[json]] {
        api.send("POST", "/v1/batches", headers, b"{}").expect(200);
    }
}

#[test]
fn heads_are_bounded() {
    let api = Api::start();
    let head = |fields: usize| {
        let fields = "X-Field: 1\r\n".repeat(fields);
        api.send_raw(
            format!("GET /v1/batches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n").as_bytes(),
        )
    };
    head(62).expect(200);
    head(63).expect_problem(431, "too_many_headers", Value::Null);
}

#[test]
fn a_connection_with_a_body_that_nobody_read_is_not_used_again() {
    let api = Api::start();
    let json = [("Content-Type", "application/json")];
    for (path, status) in
        [("/nowhere", 404), ("/health", 405), ("/v1/batches/a%20b/cancel", 404), ("/v1/batches?x", 422)]
    {
        let answer = api.send("POST", path, &json, b"{}").expect(status);
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
    }
    for (body, status) in [("{\"x\": 1}", 422), ("{", 400), ("{}", 200)] {
        let answer = api.send("POST", "/v1/batches", &json, body.as_bytes()).expect(status);
        assert_eq!(answer.header("connection"), None, "{body}");
    }
    assert_eq!(api.post_nothing("/nowhere").expect(404).header("connection"), None);
}

#[test]
fn slow_bodies_are_given_up() {
    let api = Api::start_with(ApiOptions { body_deadline: Duration::from_millis(50), ..ApiOptions::default() });
    let slow_body = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                      Content-Length: 9\r\nConnection: close\r\n\r\n{";
    api.send_raw(slow_body).expect_problem(408, "body_timeout", Value::Null);
}

#[test]
fn more_connections_than_allowed_wait_while_all_have_requests() {
    let api = Api::start_with(ApiOptions { connections: 1, ..ApiOptions::default() });
    let get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    api.dead_letter("w");
    let retry = b"POST /v1/webhooks/dead-letter/1/retry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    thread::scope(|scope| {
        let (first, second) = api.transport.holding(|| {
            let first = scope.spawn(|| api.send_raw(retry).status);
            api.transport.next();
            (first, scope.spawn(|| api.send_raw(get).status))
        });
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (200, 200));
    });
}

#[test]
fn the_end_waits_for_requests_and_for_nothing_else() {
    let grace = 2 * PATIENCE;
    let mut api = Api::start_with(ApiOptions { grace, head_deadline: grace, ..ApiOptions::default() });
    api.dead_letter("end");
    api.transport.status.store(200, Ordering::SeqCst);
    let silent = TcpStream::connect(api.address).unwrap();
    let mut half = TcpStream::connect(api.address).unwrap();
    half.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let mut idle = TcpStream::connect(api.address).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();

    let mut waiting = TcpStream::connect(api.address).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    let retry = b"POST /v1/webhooks/dead-letter/1/retry HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let watch = Stopwatch::start();
    let transport = std::sync::Arc::clone(&api.transport);
    transport.holding(|| {
        waiting.write_all(retry).unwrap();
        transport.next();
        api.stop();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).unwrap();
        half.read_to_end(&mut rest).unwrap();
    });
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"retry_success\":true"), "{answer}");
    api.join();
    assert!(watch.elapsed() < PATIENCE);
    assert!(TcpStream::connect(api.address).is_err(), "nobody listens any more");
    drop(silent);
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let mut api = Api::start_with(ApiOptions { grace: Duration::from_millis(50), ..ApiOptions::default() });
    api.dead_letter("cut");
    let transport = std::sync::Arc::clone(&api.transport);
    transport.holding(|| {
        let mut waiting = TcpStream::connect(api.address).unwrap();
        waiting.write_all(b"POST /v1/webhooks/dead-letter/1/retry HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        transport.next();
        api.stop();
        api.join();
    });
}

#[test]
fn a_head_request_has_no_body() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "head"})).expect(200);
    let answer = api.send_raw(b"HEAD /v1/batches/head HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((answer.status, &answer.body, answer.header("etag")), (200, &json!(""), Some("\"1\"")));
}
