//! What is hardly HTTP, or not at all: every answer is of the one shape, and the server lives on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use hookledger::api::ApiOptions;
use serde_json::{Value, json};

use crate::fixture::{Answer, Api, PATIENCE};

fn connect(api: &Api) -> TcpStream {
    let socket = TcpStream::connect(api.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Everything until the server closes.
fn rest(mut socket: TcpStream) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    answer.expect_problem(status, code, Value::Null);
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert!(
        answer.header("date").is_some() && answer.header("x-request-id").unwrap().starts_with("req_"),
        "{answer:?}"
    );
}

#[test]
fn what_is_not_http_is_told_so() {
    let api = Api::start();
    for bytes in [
        "\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET /health\r\n\r\n",
        "GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        "GET /health HTTP/1.1\r\nX: \0\r\n\r\n",
        "GET /health HTTP/3.0\r\n\r\n",
        "GET /he alth HTTP/1.1\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "POST /v1/batches HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\n",
        "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\n",
        "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ] {
        refused(&api.send_raw(bytes.as_bytes()), 400, "malformed_request");
    }
    // HTTP/2 with prior knowledge: the preface, and a frame of settings.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    refused(&api.send_raw(preface), 400, "malformed_request");
    api.get("/health").expect(200);
}

#[test]
fn a_body_has_one_length() {
    let api = Api::start();
    let post = |framing: &str, body: &str| {
        let head = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
        api.send_raw(format!("{head}\r\n{framing}\r\n\r\n{body}").as_bytes())
    };
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    for (framing, body) in [
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", chunks),
        ("Transfer-Encoding: chunked\r\nContent-Length: 12", chunks),
        ("transfer-encoding: chunked\r\ncontent-length: 0", chunks),
        ("Content-Length: 2\r\nContent-Length: 3", "{} "),
        ("Content-Length: 2\r\nContent-Length: 2", "{}"),
        ("Content-Length: 0\r\nContent-Length: 0", ""),
        ("Transfer-Encoding: gzip", "{}"),
        ("Transfer-Encoding: chunked, gzip", chunks),
        ("Transfer-Encoding: identity", "{}"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", chunks),
    ] {
        refused(&post(framing, body), 400, "malformed_request");
    }
    assert_eq!(api.get("/v1/batches").body["data"], json!([]), "none of them was acted on");
    post("Transfer-Encoding: chunked\r\nConnection: close", chunks).expect(200);
    post("Content-Length: 2\r\nConnection: close", "{}").expect(200);
}

#[test]
fn what_is_behind_an_ambiguous_request_is_not_a_request() {
    let api = Api::start();
    let mut socket = connect(&api);
    let good = "GET /v1/batches HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ambiguous = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                     Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    socket.write_all([good, ambiguous, good].concat().as_bytes()).unwrap();
    let answers = rest(socket);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 1, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1").count(), 2, "{answers}");
}

#[test]
fn a_chunked_request_is_the_last_one_of_its_connection() {
    let api = Api::start();
    let head = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
    for ambiguous in ["Content-Length: 2\r\nContent-Length: 2", "Content-Length: 2\r\nTransfer-Encoding: chunked"] {
        let mut socket = connect(&api);
        socket.write_all(format!("{chunked}{head}{ambiguous}\r\n\r\n{{}}").as_bytes()).unwrap();
        let answers = rest(socket);
        assert!(answers.starts_with("HTTP/1.1 200") && answers.contains("connection: close\r\n"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
    }
    // Also where nothing follows at once, and where the request is refused.
    for host in ["localhost", "other.example"] {
        let mut socket = connect(&api);
        socket.write_all(chunked.replace("localhost", host).as_bytes()).unwrap();
        assert!(rest(socket).contains("connection: close\r\n"), "{host}");
    }
    assert_eq!(api.get("/v1/batches").body["data"].as_array().unwrap().len(), 3, "one for each that was right");
}

#[test]
fn targets_and_methods_of_every_form_are_answered() {
    let api = Api::start();
    let ask = |line: &str| {
        api.send_raw(format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
    };
    ask("GET http://localhost/health").expect(200);
    ask("GET http://127.0.0.1:1/v1/batches").expect(200);
    ask("GET ftp://localhost/v1/batches").expect(200);
    ask("GET http://other.example/v1/batches").expect_problem(403, "host_not_allowed", Value::Null);
    ask("CONNECT localhost:443").expect_problem(404, "not_found", Value::Null);
    ask("CONNECT other.example:443").expect_problem(403, "host_not_allowed", Value::Null);
    ask("CONNECT /health").expect_problem(405, "method_not_allowed", Value::Null);
    ask("OPTIONS *").expect_problem(404, "not_found", Value::Null);
    for method in ["get", "Get", "post", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH"] {
        ask(&format!("{method} /v1/batches")).expect_problem(405, "method_not_allowed", Value::Null);
    }
    ask("GET /v1/batches/%zz").expect_problem(404, "not_found", Value::Null);
    ask("GET //v1/batches").expect_problem(404, "not_found", Value::Null);
    let upgrade = "GET /v1/batches HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n";
    api.send_raw(upgrade.as_bytes()).expect(200);
    api.send_raw(b"GET /v1/batches HTTP/1.0\r\nHost: localhost\r\n\r\n").expect(200);
}

#[test]
fn too_large_heads_are_answered_while_they_are_still_sent() {
    let api = Api::start();
    let field = format!("X-Long: {}\r\n", "x".repeat(1024 * 1024));
    refused(&api.send_raw(format!("GET /health HTTP/1.1\r\n{field}\r\n").as_bytes()), 431, "head_too_large");
    let fields = "X: y\r\n".repeat(200_000);
    refused(&api.send_raw(format!("GET /health HTTP/1.1\r\n{fields}\r\n").as_bytes()), 431, "head_too_large");
    let endless = "x".repeat(1024 * 1024);
    refused(&api.send_raw(format!("GET /{endless}").as_bytes()), 414, "uri_too_long");
    refused(&api.send_raw(format!("GET /{endless} HTTP/1.1\r\n\r\n").as_bytes()), 414, "uri_too_long");
    let longest = "x".repeat(15 * 1024);
    api.send_raw(format!("GET /{longest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .expect_problem(404, "not_found", Value::Null);
}

#[test]
fn a_refusal_comes_after_the_answers_that_are_owed() {
    let api = Api::start();
    for bytes in ["GET /health HTTP/1.1\r\n\r\n", "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"] {
        let mut socket = connect(&api);
        socket.write_all(format!("{}nonsense\r\n\r\n{bytes}", bytes.repeat(5)).as_bytes()).unwrap();
        let answers = rest(socket);
        assert_eq!(answers.matches(" 200 OK\r\n").count(), 5, "{answers}");
        let last = answers.rsplit_once(" 400 Bad Request\r\n").unwrap().1;
        assert!(last.contains("\"malformed_request\"") && !last.contains("200 OK"), "{answers}");
    }
}

#[test]
fn a_head_that_does_not_arrive_is_told_so_and_silence_is_met_with_silence() {
    let api = Api::start_with(ApiOptions { head_deadline: Duration::from_millis(50), ..ApiOptions::default() });
    for begun in ["G", "GET /health HTTP/1.1\r\nHost:", "\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n"] {
        refused(&api.send_raw(begun.as_bytes()), 408, "head_timeout");
    }
    for silent in ["", "\r\n", "\r\n\r\n\r\n"] {
        let mut socket = connect(&api);
        socket.write_all(silent.as_bytes()).unwrap();
        assert_eq!(rest(socket), "");
    }
    let mut socket = connect(&api);
    socket.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    let answer = rest(socket);
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "an idle connection is closed in silence: {answer}");
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let api = Api::start_with(ApiOptions { write_deadline: Duration::from_millis(200), ..ApiOptions::default() });
    let mut socket = connect(&api);
    let request = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    // The answers fill the buffers of both sides, then the requests do, then the server closes with all that unread.
    let end = std::iter::repeat_with(|| socket.write_all(request.as_bytes())).find_map(Result::err).unwrap();
    assert!(matches!(end.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end}");
    api.get("/health").expect(200);
}

/// Runs `during` while two connections have requests in progress, and then has both answered.
fn with_two_requests(api: &Api, during: impl FnOnce()) {
    for name in ["one", "two"] {
        api.dead_letter(name);
    }
    thread::scope(|scope| {
        let busy: Vec<_> = api.transport.holding(|| {
            let begin = |id: u32| {
                let retry = format!("POST /v1/webhooks/dead-letter/{id}/retry HTTP/1.1\r\nHost: localhost\r\n");
                let asking = scope.spawn(move || api.send_raw(format!("{retry}Connection: close\r\n\r\n").as_bytes()));
                api.transport.next();
                asking
            };
            let busy = [1, 2].map(begin);
            during();
            busy.into()
        });
        for asking in busy {
            asking.join().unwrap().expect(200);
        }
    });
}

#[test]
fn whoever_asks_nothing_makes_room() {
    let api = Api::start_with(ApiOptions { connections: 3, ..ApiOptions::default() });
    let idle: Vec<_> = (0..3).map(|_| connect(&api)).collect();
    with_two_requests(&api, || {
        // Those that ask something have a seat, at the cost of those that ask nothing, and keep it.
        for socket in idle {
            assert_eq!(rest(socket), "");
        }
        for _ in 0..20 {
            let mut half = connect(&api);
            half.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
            let get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            api.send_raw(get).expect(200);
            assert!(is_closed(half), "it has made room");
        }
    });
}

#[test]
fn a_peer_has_no_more_connections_than_it_may() {
    let api = Api::start_with(ApiOptions { connections_per_peer: Some(2), ..ApiOptions::default() });
    let (first, second) = (connect(&api), connect(&api));
    let mut third = connect(&api);
    assert_eq!(rest(first), "", "the first one has made room");
    third.write_all(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(third).starts_with("HTTP/1.1 200"));
    drop(second);
    with_two_requests(&api, || assert!(is_closed(connect(&api)), "all of its connections have requests"));
}

/// Whether the server closes without having been asked anything.
fn is_closed(mut socket: TcpStream) -> bool {
    match socket.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}
