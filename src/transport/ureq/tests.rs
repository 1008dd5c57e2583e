//! Against hand-written servers on loopback, which say exactly what a test wants them to. What is recorded of each kind of
//! receiver is in `tests/zoo`; here is what needs a look inside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::*;
use crate::domain::headers::CustomHeaders;
use crate::domain::outcome::RetryAfter;
use crate::domain::time::Timestamp;
use crate::transport::resolver::ResolveError;

mod proxy;

const BODY: &[u8] = br#"{"id": "batch_1"}"#;
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(250);

/// Where nobody listens: tcpmux, long out of use.
const CLOSED: &str = "http://127.0.0.1:1/";

fn transport() -> UreqTransport {
    UreqTransport::new(UreqSettings { guard: Guard::dev(), ..UreqSettings::default() })
}

fn request(url: &str, timeout: Duration) -> Request {
    let headers = vec![("webhook-id", "msg_1".to_owned()), ("X-Webhook-Event", "completed".to_owned())];
    Request { url: url.to_owned(), headers, custom: CustomHeaders::none(), body: BODY.into(), timeout }
}

fn send(url: &str, timeout: Duration) -> Result<Response, Failure> {
    transport().send(&request(url, timeout)).result
}

fn status(result: Result<Response, Failure>) -> u16 {
    result.unwrap().status
}

fn kind(result: Result<Response, Failure>) -> FailureKind {
    result.unwrap_err().kind
}

#[test]
fn a_look_up_that_was_not_made_says_nothing_of_the_destination() {
    let unresolved = |error| failure::of(&::ureq::Error::Other(Box::new(error)), Stage::Connecting).to_string();
    assert_eq!(unresolved(ResolveError::NoThread("no thread".into())), "internal: no thread");
    assert_eq!(unresolved(ResolveError::Failed("no such name".into())), "resolve: no such name");
}

/// Hands every connection to `handler`, which may keep it, with its number from 0.
fn serve(mut handler: impl FnMut(usize, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?key=hidden", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            handler(number, stream.unwrap());
        }
    });
    url
}

/// Answers the first request of each connection with these bytes, then closes; tells of each request.
fn answer_with(response: impl Into<Vec<u8>>) -> (String, Receiver<String>) {
    let response = response.into();
    let (requests, received) = unbounded();
    let url = serve(move |_, mut stream| {
        let _ = requests.send(read_request(&mut stream));
        let _ = stream.write_all(&response);
    });
    (url, received)
}

/// Reads one request to the end of its body.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        bytes.push(byte[0]);
    }
    let mut body = [0; BODY.len()];
    if !bytes.is_empty() && stream.read_exact(&mut body).is_ok() {
        bytes.extend_from_slice(&body);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn sends_the_bytes_with_the_headers_that_were_asked_for() {
    let (url, requests) = answer_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let outcome = transport().send(&request(&url, LONG));
    assert_eq!(outcome.result, Ok(Response { status: 200, excerpt: "ok".into(), retry_after: None }));
    assert_eq!(outcome.error(), None);

    let sent = requests.recv().unwrap();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), BODY);
    let mut lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(lines.remove(0), "post /hook?key=hidden http/1.1");
    lines.retain(|line| !line.starts_with("host: 127.0.0.1:"));
    lines.sort();
    let expected = [
        "accept-encoding: identity",
        "accept: */*",
        "content-length: 17",
        "content-type: application/json",
        &format!("user-agent: hookledger/{}", env!("CARGO_PKG_VERSION")),
        "webhook-id: msg_1",
        "x-webhook-event: completed",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_webhooks_own_headers_come_after_all_others() {
    let (url, requests) = answer_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let given = [("X-Tenant", "a b"), ("Authorization", "Basic dTpw")];
    let custom = CustomHeaders::new(given.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    assert!(transport().send(&Request { custom, ..request(&url, LONG) }).result.is_ok());
    let sent = requests.recv().unwrap().to_ascii_lowercase();
    let at = |line: &str| sent.find(&format!("\r\n{line}\r\n")).unwrap_or_else(|| panic!("{line} in {sent}"));
    assert!(at("x-webhook-event: completed") < at("authorization: basic dtpw"));
    assert!(at("authorization: basic dtpw") < at("x-tenant: a b"));
}

#[test]
fn retry_after_is_read() {
    let cases = [
        ("120", RetryAfter::Seconds(120)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", RetryAfter::At(Timestamp::from_seconds(784_111_777))),
    ];
    for (value, expected) in cases {
        for code in [429, 503] {
            let (url, _) =
                answer_with(format!("HTTP/1.1 {code} Wait\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"));
            let response = send(&url, LONG).unwrap();
            assert_eq!((response.status, response.retry_after), (code, Some(expected)));
        }
    }
}

#[test]
fn a_closed_port_is_a_failure_to_connect() {
    let failure = send(CLOSED, LONG).unwrap_err();
    assert_eq!(failure.to_string(), "connect: connection refused");
}

#[test]
fn a_name_without_address_is_a_failure_to_resolve() {
    // No label of a name is that long, so this is refused without asking the network.
    let name = "a".repeat(64);
    assert_eq!(kind(send(&format!("http://{name}.invalid/"), LONG)), FailureKind::Resolve);
}

#[test]
fn the_guard_is_asked() {
    let (url, reached) = answer_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let port = url.split([':', '/']).find(|part| part.parse::<u16>().is_ok_and(|port| port > 1024)).unwrap().to_owned();
    let strict = UreqTransport::new(UreqSettings {
        guard: Guard { allow_http: true, ..Guard::default() },
        ..UreqSettings::default()
    });
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"] {
        for url in [format!("http://{host}/"), format!("http://{host}:{port}/"), format!("https://{host}/")] {
            assert_eq!(kind(strict.send(&request(&url, LONG)).result), FailureKind::Blocked, "{url}");
        }
    }
    for url in ["not a url", "ftp://example.com/", "http://user:pw@example.com/"] {
        assert_eq!(kind(strict.send(&request(url, LONG)).result), FailureKind::Blocked, "{url}");
    }
    assert!(reached.is_empty());
}

#[test]
fn failure_texts_tell_no_url() {
    let (url, _) = answer_with("garbage\r\n\r\n");
    let strict = UreqTransport::new(UreqSettings::default());
    let failures = [
        send(&url, LONG).unwrap_err(),
        send(&format!("{CLOSED}?key=hidden"), LONG).unwrap_err(),
        strict.send(&request("https://127.0.0.1/?key=hidden", LONG)).result.unwrap_err(),
        strict.send(&request("https://[?key=hidden", LONG)).result.unwrap_err(),
    ];
    for failure in failures {
        assert!(!failure.detail.contains("hidden"), "{failure}");
        assert!(failure.detail.len() < 100, "{failure}");
    }
    assert!(!format!("{:?}", request(&url, LONG)).contains("hidden"));
}

/// Answers as many requests on each connection as told, reads one more, and closes without a word.
fn close_after(answers: Vec<usize>) -> (String, Receiver<usize>) {
    let (requests, received): (Sender<usize>, _) = unbounded();
    let url = serve(move |number, mut stream| {
        for _ in 0..answers.get(number).copied().unwrap_or(0) {
            read_request(&mut stream);
            let _ = requests.send(number);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        if !read_request(&mut stream).is_empty() {
            let _ = requests.send(number);
        }
    });
    (url, received)
}

#[test]
fn connections_are_used_again() {
    let (url, requests) = close_after(vec![3]);
    let transport = transport();
    for _ in 0..3 {
        assert_eq!(status(transport.send(&request(&url, LONG)).result), 200);
    }
    assert_eq!(requests.try_iter().collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn a_dead_kept_alive_connection_is_replaced_once() {
    let (url, requests) = close_after(vec![1, 1]);
    let transport = transport();
    assert_eq!(status(transport.send(&request(&url, LONG)).result), 200);
    assert_eq!(status(transport.send(&request(&url, LONG)).result), 200);
    assert_eq!(requests.try_iter().collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn a_new_connection_that_dies_is_a_failure_at_once() {
    let (url, requests) = close_after(vec![1, 0, 1]);
    let transport = transport();
    assert_eq!(status(transport.send(&request(&url, LONG)).result), 200);
    assert_eq!(kind(transport.send(&request(&url, LONG)).result), FailureKind::Protocol);
    assert_eq!(requests.recv().unwrap(), 0);
    assert_eq!(requests.recv().unwrap(), 0);
    assert_eq!(requests.recv().unwrap(), 1);
    assert!(requests.is_empty());
}

#[test]
fn a_response_begun_on_a_kept_alive_connection_is_not_asked_for_again() {
    let (requests, received) = unbounded();
    let url = serve(move |number, mut stream| {
        read_request(&mut stream);
        let _ = requests.send(number);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        read_request(&mut stream);
        let _ = requests.send(number);
        let _ = stream.write_all(b"HTTP/1.1 50");
    });
    let transport = transport();
    assert_eq!(status(transport.send(&request(&url, LONG)).result), 200);
    assert_eq!(kind(transport.send(&request(&url, LONG)).result), FailureKind::Protocol);
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn shutdown_interrupts_and_refuses() {
    let (accepted, in_flight) = bounded(1);
    let url = serve(move |_, mut stream| {
        read_request(&mut stream);
        let _ = accepted.send(stream);
    });
    let transport = Arc::new(transport());
    let sender = thread::spawn({
        let (transport, request) = (Arc::clone(&transport), request(&url, LONG));
        move || transport.send(&request).result
    });
    let _held = in_flight.recv().unwrap();
    transport.shutdown();
    assert_eq!(kind(sender.join().unwrap()), FailureKind::Internal);
    assert_eq!(kind(transport.send(&request(&url, LONG)).result), FailureKind::Internal);
    transport.shutdown();
}

#[test]
fn no_proxy_is_taken_from_the_environment() {
    assert!(config(&Roots::default()).proxy().is_none());
    assert_eq!(config(&Roots::default()).max_redirects(), 0);
}

#[test]
fn destinations_are_spread_and_stay_where_they_are() {
    let transport = transport();
    let agent = |n: usize| -> *const Agent {
        transport.agent_for(&Url::parse(&format!("https://host-{n}.example/{n}")).unwrap())
    };
    let used: std::collections::HashSet<_> = (0..1000).map(agent).collect();
    assert_eq!(used.len(), transport.agents.len());
    assert_eq!(agent(7), agent(7));
}
