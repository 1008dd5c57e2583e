//! The table.

use std::time::Duration;

use hookledger::domain::outcome::excerpt;

use super::receiver::Step::{self, Drip, Flood, Hold, Read, Reset};
use super::{LONG, SHORT};

/// 10 MiB of zeros in 10 KiB.
const BOMB: &[u8] = include_bytes!("bomb.gz");

/// One kind of receiver.
pub struct Animal {
    pub name: &'static str,
    pub script: Vec<Step>,
    pub timeout: Duration,
    pub recorded: Recorded,
}

/// What has to be recorded.
#[derive(Debug)]
pub enum Recorded {
    /// A status, and the beginning of the body.
    Status(u16, String),
    /// A status, with as much of the body as came in time.
    Begun(u16),
    /// One of these failures: which one can depend on which packet comes first.
    Failure(Vec<&'static str>),
}

const TIMED_OUT: &str = "timeout: the time was up before a response";
const RESET: &str = "protocol: the connection was reset";
const BROKEN_OFF: &str = "protocol: the connection was broken off";
const ENDED: &str = "protocol: the connection ended before a response";

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

fn row(name: &'static str, script: Vec<Step>, timeout: Duration, recorded: Recorded) -> Animal {
    Animal { name, script, timeout, recorded }
}

/// Reads the request, sends this, and closes.
fn answers(name: &'static str, response: &str, status: u16, body: &str) -> Animal {
    row(name, vec![Read, send(response)], LONG, Recorded::Status(status, body.into()))
}

/// As [`answers`], with an answer that is none.
fn fails(name: &'static str, response: &str, text: &'static str) -> Animal {
    row(name, vec![Read, send(response)], LONG, Recorded::Failure(vec![text]))
}

fn times_out(name: &'static str, script: Vec<Step>) -> Animal {
    row(name, script, SHORT, Recorded::Failure(vec![TIMED_OUT]))
}

pub fn all() -> Vec<Animal> {
    [slow(), endless(), broken(), statuses(), odd_but_right(), wrong()].into_iter().flatten().collect()
}

fn slow() -> Vec<Animal> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let taken = |body: &str| Recorded::Status(200, body.into());
    vec![
        times_out("silent from the start", vec![Hold]),
        times_out("silent after the request", vec![Read, Hold]),
        times_out("silent within the head", vec![Read, send(ok), Hold]),
        times_out(
            "a byte at a time, within the status line",
            vec![Read, Drip(b"HTTP/1.1 200 OK but slowly and then some".to_vec())],
        ),
        times_out("a byte at a time, within a header", vec![Read, send(ok), send("X: "), Drip(b"x".to_vec())]),
        times_out("still processing, again and again", vec![Read, Drip(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec())]),
        times_out("a byte at a time, many headers", vec![Read, send(ok), Drip(b"X: y\r\n".to_vec())]),
        // The receiver took the delivery; only the excerpt is cut short.
        row(
            "a byte at a time, within the body",
            vec![Read, send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), Drip(b"x".to_vec())],
            SHORT,
            Recorded::Begun(200),
        ),
        row(
            "a byte at a time, until it closes",
            vec![Read, send("HTTP/1.1 200 OK\r\n\r\n"), Drip(b"x".to_vec())],
            SHORT,
            Recorded::Begun(200),
        ),
        row(
            "silent within the body",
            vec![Read, send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"), Hold],
            SHORT,
            taken("hello"),
        ),
        row(
            "a byte at a time, within a chunk's size",
            vec![Read, send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Drip(b"0".to_vec())],
            SHORT,
            taken(""),
        ),
    ]
}

fn endless() -> Vec<Animal> {
    let flood = |name, head: &str, bytes: &[u8], body: String| {
        row(name, vec![Read, send(head), Flood(bytes.repeat(1024))], LONG, Recorded::Status(200, body))
    };
    let too_long = || Recorded::Failure(vec!["protocol: the response head is longer than 16384 bytes"]);
    let bomb_head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", BOMB.len());
    vec![
        flood("a body without an end", "HTTP/1.1 200 OK\r\n\r\n", b"endless ", "endless ".repeat(128)),
        flood("a huge length, kept", "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", b"x", "x".repeat(1024)),
        flood(
            "chunks for ever",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            "x".repeat(1024),
        ),
        row(
            "a bomb, which is not decompressed",
            vec![Read, send(&bomb_head), Step::Send(BOMB.to_vec())],
            LONG,
            Recorded::Status(200, excerpt(BOMB)),
        ),
        row(
            "still processing, as fast as it goes",
            vec![Read, Flood(b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100))],
            LONG,
            too_long(),
        ),
        row(
            "a header without an end",
            vec![Read, send("HTTP/1.1 200 OK\r\nX: "), Flood(vec![b'x'; 1024])],
            LONG,
            too_long(),
        ),
    ]
}

fn broken() -> Vec<Animal> {
    let any_break = || Recorded::Failure(vec!["connect: the connection was reset", RESET, BROKEN_OFF, ENDED]);
    let reset = || Recorded::Failure(vec![RESET]);
    vec![
        row("reset on accept", vec![Reset], LONG, any_break()),
        row("closed on accept", vec![], LONG, any_break()),
        row("reset after the request", vec![Read, Reset], LONG, reset()),
        row("closed after the request", vec![Read], LONG, Recorded::Failure(vec![ENDED])),
        row("reset within the head", vec![Read, send("HTTP/1.1 20"), Reset], LONG, reset()),
        fails("closed within the head", "HTTP/1.1 200 OK\r\nContent-Le", ENDED),
        row(
            "reset within the body",
            vec![Read, send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"), Reset],
            LONG,
            Recorded::Status(200, "hello".into()),
        ),
        answers("closed within the body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", 200, "hello"),
        answers("closed within a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 200, "hel"),
    ]
}

fn statuses() -> Vec<Animal> {
    vec![
        answers("created", "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201, "ok"),
        answers("accepted", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, ""),
        answers("no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        answers("no content, and content", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, ""),
        answers("not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""),
        answers("bad request", "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", 400, "no"),
        answers("gone", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 410, ""),
        answers("too many", "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429, ""),
        answers("an error", "HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nsorry", 500, "sorry"),
        answers("unavailable", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, ""),
        answers("a status of its own", "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", 999, ""),
        answers("a challenge", "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", 401, ""),
        answers(
            "moved, with a broken location",
            "HTTP/1.1 301 M\r\nLocation: http://[x\r\nContent-Length: 0\r\n\r\n",
            301,
            "",
        ),
    ]
}

fn odd_but_right() -> Vec<Animal> {
    vec![
        answers("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nold", 200, "old"),
        answers("HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", 200, "old"),
        answers("no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, ""),
        answers("100 first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        answers("102 first", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""),
        answers(
            "103 first",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
        ),
        answers(
            "100 twice",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
        ),
        answers("a length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        answers(
            "a length and chunks",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            "ok",
        ),
        // A head was there, and it said 2xx: the receiver has taken the delivery.
        answers("a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n", 200, ""),
        answers(
            "a chunk past every number",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n",
            200,
            "",
        ),
        answers("more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokand more", 200, "ok"),
        answers(
            "gzip that is none",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
            200,
            "nope",
        ),
        answers("a cookie", "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        row(
            "an answer before the request",
            vec![send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Read],
            LONG,
            Recorded::Status(200, "ok".into()),
        ),
        row(
            "in pieces",
            ["HTTP/1.1 2", "00 O", "K\r\nContent-Le", "ngth: 2\r", "\n\r", "\no", "k"]
                .into_iter()
                .fold(vec![Read], |script, piece| [script, vec![send(piece)]].concat()),
            LONG,
            Recorded::Status(200, "ok".into()),
        ),
    ]
}

fn wrong() -> Vec<Animal> {
    vec![
        fails("100 alone", "HTTP/1.1 100 Continue\r\n\r\n", ENDED),
        answers("another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 101, ""),
        fails(
            "a negative length",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
            "protocol: content-length header not a number",
        ),
        fails(
            "a length past every number",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "protocol: content-length header not a number",
        ),
        fails(
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
            "protocol: conflicting content-length headers",
        ),
        fails("nothing but line ends", "\r\n\r\n", "protocol: the connection ended before a response"),
        fails(
            "another protocol's greeting",
            "SSH-2.0-OpenSSH_9.6\r\n",
            "protocol: http parse fail: invalid HTTP version",
        ),
        fails("words", "hello\r\n\r\n", "protocol: http parse fail: invalid HTTP version"),
        fails("binary", "\0\u{1}\u{2}\u{3}\r\n\r\n", "protocol: http parse fail: invalid HTTP version"),
        fails("a TLS alert", "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{50}", "protocol: http parse fail: invalid HTTP version"),
        fails("no status", "HTTP/1.1 OK\r\n\r\n", "protocol: http parse fail: invalid response status"),
        fails("a short status", "HTTP/1.1 20 OK\r\n\r\n", "protocol: http parse fail: invalid response status"),
        fails("a negative status", "HTTP/1.1 -20 OK\r\n\r\n", "protocol: http parse fail: invalid response status"),
        fails(
            "a version that there isn't",
            "HTTP/9.9 200 OK\r\n\r\n",
            "protocol: http parse fail: invalid HTTP version",
        ),
        fails("HTTP/2 without being asked", "HTTP/2 200 OK\r\n\r\n", "protocol: http parse fail: invalid HTTP version"),
        fails(
            "a header without a colon",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "protocol: http parse fail: invalid header name",
        ),
        fails("a very long line", &"x".repeat(50_000), "protocol: http parse fail: invalid HTTP version"),
        fails(
            "very many headers",
            &format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2000)),
            "protocol: http parse resulted in too many headers",
        ),
    ]
}
