//! What is read of a response: the status, `Retry-After`, and the beginning of the body.

use std::io::Read;
use std::time::UNIX_EPOCH;

use ::ureq::Body;
use ::ureq::http::{self, HeaderMap, header};

use crate::domain::outcome::{EXCERPT_BYTES, Response, RetryAfter, excerpt};
use crate::domain::time::Timestamp;

/// How much of a body is read: to its end the connection can be used again, and past this it isn't worth it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The response has arrived: nothing that happens from here on changes its status.
pub(super) fn read(response: http::Response<Body>) -> Response {
    let (head, mut body) = response.into_parts();
    let retry_after = retry_after(&head.headers);
    Response { status: head.status.as_u16(), excerpt: excerpt(&beginning(&mut body.as_reader())), retry_after }
}

/// Reads up to the limit, the end, or the first error, and keeps what an excerpt needs.
fn beginning(body: &mut dyn Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    let mut read = 0;
    while read < MAX_BODY_BYTES {
        match body.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                let room = EXCERPT_BYTES - kept.len();
                kept.extend_from_slice(&buffer[..n.min(room)]);
                read += n;
            }
        }
    }
    kept
}

/// RFC 9110, section 10.2.3: seconds, or a date in one of three forms. What is neither is as good as none.
fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(RetryAfter::Seconds(text.parse().unwrap_or(u64::MAX)));
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(RetryAfter::At(Timestamp::from_seconds(i64::try_from(since_epoch.as_secs()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<RetryAfter> {
        retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, http::HeaderValue::from_static(text))]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = Some(RetryAfter::At(Timestamp::from_seconds(784_111_777)));
        assert_eq!(parse("0"), Some(RetryAfter::Seconds(0)));
        assert_eq!(parse(" 120 "), Some(RetryAfter::Seconds(120)));
        assert_eq!(parse("99999999999999999999999"), Some(RetryAfter::Seconds(u64::MAX)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), at);
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT"), at);
        assert_eq!(parse("Sun Nov  6 08:49:37 1994"), at);
    }

    #[test]
    fn what_is_no_retry_after_is_none() {
        for text in ["", "-1", "+1", "1.5", "soon", "1 s", "Sun, 06 Nov 1994"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn an_endless_body_is_read_to_the_limit_only() {
        struct Endless(usize);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                buffer.fill(b'x');
                self.0 += buffer.len();
                Ok(buffer.len())
            }
        }
        let mut body = Endless(0);
        assert_eq!(beginning(&mut body).len(), EXCERPT_BYTES);
        assert_eq!(body.0, MAX_BODY_BYTES);
    }
}
