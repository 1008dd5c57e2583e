//! Through an egress proxy.

use super::*;

const OPENED: &str = "HTTP/1.1 200 Connection established\r\nVia: a proxy\r\n\r\n";

/// A proxy that answers `CONNECT` with these bytes and, where they open a tunnel, is the receiver as well.
fn proxy(answer: &'static str) -> (UreqTransport, Receiver<String>) {
    let (requests, received) = unbounded();
    let url = serve(move |_, mut stream| {
        let _ = requests.send(read_head(&mut stream));
        let _ = stream.write_all(answer.as_bytes());
        if answer == OPENED {
            let _ = requests.send(read_request(&mut stream));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (through(&url, Guard { allow_http: true, ..Guard::default() }), received)
}

fn through(url: &str, guard: Guard) -> UreqTransport {
    let proxy = Some(url.strip_suffix("/hook?key=hidden").unwrap_or(url).parse().unwrap());
    UreqTransport::with_look_up(UreqSettings { guard, proxy, ..UreqSettings::default() }, |_| panic!("looked up"))
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_request_goes_through_a_tunnel_that_names_nothing_but_the_destination() {
    let (transport, requests) = proxy(OPENED);
    let outcome = transport.send(&request("http://receiver.example/hook?key=hidden", LONG));
    assert_eq!(outcome.result, Ok(Response { status: 200, excerpt: "ok".into(), retry_after: None }));
    let agent = concat!("hookledger/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        requests.recv().unwrap(),
        format!("CONNECT receiver.example:80 HTTP/1.1\r\nHost: receiver.example:80\r\nUser-Agent: {agent}\r\n\r\n")
    );
    assert!(requests.recv().unwrap().starts_with("POST /hook?key=hidden HTTP/1.1\r\n"));
}

#[test]
fn a_proxy_that_opens_no_tunnel_is_a_failure_to_connect() {
    let long_head: &str = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(10_000)).leak();
    for (answer, detail) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the egress proxy answered 403"),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the egress proxy answered 407"),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "the egress proxy's answer is not HTTP"),
        ("HTTP/1.1 200 OK\r\n", "the egress proxy: the connection ended before a response"),
        (long_head, "the egress proxy: the answer's head is too long"),
    ] {
        let (transport, _) = proxy(answer);
        let failure = transport.send(&request("https://receiver.example/?key=hidden", LONG)).result.unwrap_err();
        assert_eq!(failure, Failure { kind: FailureKind::Connect, detail: detail.into() }, "{answer:.40}");
    }
    let closed = through(CLOSED, Guard::default());
    let failure = closed.send(&request("https://receiver.example/", LONG)).result.unwrap_err();
    assert_eq!(failure.to_string(), "connect: the egress proxy: connection refused");
}

#[test]
fn a_slow_proxy_is_a_timeout() {
    let (_never, ticks) = bounded::<()>(0);
    let byte_by_byte = serve(move |_, mut stream| {
        let mut drip = b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        while drip.next().is_some_and(|byte| stream.write_all(&[*byte]).is_ok()) {
            let _ = ticks.recv_timeout(Duration::from_millis(10));
        }
    });
    let mut held = Vec::new();
    let silent = serve(move |_, stream| held.push(stream));
    for url in [silent, byte_by_byte] {
        let result = through(&url, Guard::default()).send(&request("https://receiver.example/", SHORT)).result;
        let expected = "timeout: the time was up before there was a tunnel by the egress proxy";
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_guard_still_judges_what_a_url_shows() {
    let (transport, requests) = proxy(OPENED);
    for url in ["http://127.0.0.1/", "http://2130706433/", "http://localhost/", "https://10.0.0.1/", "http://a.b:22/"] {
        assert_eq!(kind(transport.send(&request(url, LONG)).result), FailureKind::Blocked, "{url}");
    }
    assert!(requests.is_empty());
}

#[test]
fn a_tunnel_is_used_again() {
    let (requests, received) = unbounded();
    let url = serve(move |number, mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(OPENED.as_bytes());
        while !read_request(&mut stream).is_empty() {
            let _ = requests.send(number);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let transport = through(&url, Guard { allow_http: true, ..Guard::default() });
    for _ in 0..3 {
        assert_eq!(status(transport.send(&request("http://receiver.example/", LONG)).result), 200);
    }
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 0, 0]);
}
