//! A connection's end, in a way that the other side gets the last answer.
//!
//! Where hyper only ends a connection, we say why, in the one shape of errors: a head that can't be read, one that is too
//! large, one that has begun and doesn't come to its end.
//!
//! Closing a socket while the peer is still sending resets the connection, and a client that was told `413` in the middle
//! of its upload would only see the reset. So after a refusal the sending side is closed first, and what still comes is
//! thrown away for a moment (RFC 9112, section 9.6).

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::entry;
use super::problem::Problem;
use crate::domain::time::Timestamp;

/// How long the peer may take to take the last answer, and then to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// What is thrown away at most, in bytes: a body of several times what is allowed.
const THROWN_AWAY: usize = 8 * 1024 * 1024;

/// What is to be said at the end of a connection that hyper has ended with `error`: nothing where the peer has gone or
/// has only been silent.
///
/// `refusal` is the status with which hyper refused a head, `heard` what has come of one.
pub(super) fn last_words(error: &hyper::Error, refusal: Option<StatusCode>, heard: &[u8]) -> Option<Problem> {
    let too_large = refusal == Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let is_one_line = !heard.is_empty() && !heard.contains(&b'\n');
    match refusal {
        _ if refusal == Some(StatusCode::URI_TOO_LONG) || too_large && is_one_line => {
            let message = "The request's first line is longer than 16 KiB.";
            Some(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", message))
        }
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => Some(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "The request's head is larger than 16 KiB, or has far too many fields.",
        )),
        // What hyper says of it is one of a few fixed sentences.
        Some(_) => Some(Problem::malformed("malformed_request", format!("This is not HTTP/1.1: {error}."))),
        None if error.is_parse_version_h2() => {
            Some(Problem::malformed("malformed_request", "This server speaks HTTP/1.1, and not HTTP/2."))
        }
        None if error.is_timeout() && !heard.is_empty() => {
            let message = "The request's head did not arrive in time.";
            Some(Problem::new(StatusCode::REQUEST_TIMEOUT, "head_timeout", message))
        }
        None => None,
    }
}

/// Says it, if there is anything to say, and closes the connection.
///
/// `unread` is whether the peer may still be sending what nobody reads.
pub(super) async fn part(mut stream: TcpStream, words: Option<Problem>, unread: bool, now: Timestamp) {
    let unread = unread || words.is_some();
    if let Some(words) = words {
        let said = timeout(LINGER, stream.write_all(whole(&words, now).as_bytes())).await;
        if !matches!(said, Ok(Ok(()))) {
            return;
        }
    }
    if stream.shutdown().await.is_err() || !unread {
        return;
    }
    let throw_away = async {
        // Not on the stack: that would be a part of every connection, for as long as it lives.
        let (mut scratch, mut left) = (vec![0; 8 * 1024], THROWN_AWAY);
        while let Ok(read @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER, throw_away).await;
}

/// An answer as it goes over the wire, with an id of its own.
fn whole(problem: &Problem, now: Timestamp) -> String {
    let id = entry::request_id(&HeaderMap::new());
    let id = id.to_str().unwrap_or_default();
    let since_epoch = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or_default());
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_epoch);
    let (status, body) = (problem.status, problem.body(id));
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {id}\r\ncontent-length: {length}\r\n\
         connection: close\r\ndate: {date}\r\n\r\n{body}"
    )
}
