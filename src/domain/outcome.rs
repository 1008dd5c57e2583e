//! What one attempt came to. An HTTP failure is data here, not an error.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The longest failure text that is kept, in characters.
pub const ERROR_CHARS: usize = 200;

/// The longest excerpt of a response body that is kept, in bytes.
pub const EXCERPT_BYTES: usize = 1024;

/// What one attempt came to, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From the start of the name look-up to the end of the response, in milliseconds.
    pub duration_ms: u32,
    /// The receiver's answer, or why there was none.
    pub result: Result<Response, Failure>,
}

/// A receiver's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// The beginning of the body, see [`excerpt`].
    pub excerpt: String,
    /// The `Retry-After` header, where there was one that could be read.
    pub retry_after: Option<RetryAfter>,
}

/// A `Retry-After` header (RFC 9110, section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So many seconds after the response.
    Seconds(u64),
    /// Not before this time.
    At(Timestamp),
}

/// Why an attempt got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stage that failed.
    pub kind: FailureKind,
    /// What was seen there, for a person: no secrets, no URL with its query.
    pub detail: String,
}

/// The stage at which an attempt failed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// The address guard refused the destination's address. Never retried.
    Blocked,
    /// The destination's name could not be resolved.
    Resolve,
    /// No connection.
    Connect,
    /// No TLS session: a certificate that does not verify, for instance.
    Tls,
    /// The whole attempt's time was up.
    Timeout,
    /// The connection ended, or what came was not HTTP.
    Protocol,
    /// A fault of this program's own, caught.
    Internal,
}

impl FailureKind {
    /// The word for it in failure texts and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

impl Outcome {
    /// The failure text of an attempt that did not succeed, fit to keep; `None` for a 2xx.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        match &self.result {
            Ok(response) if is_success(response.status) => None,
            Ok(response) => Some(format!("HTTP {}", response.status)),
            Err(failure) => Some(clip(&failure.to_string(), ERROR_CHARS)),
        }
    }

    /// The status code, where there was an answer.
    #[must_use]
    pub fn status_code(&self) -> Option<u16> {
        self.result.as_ref().ok().map(|response| response.status)
    }
}

/// Whether a status code says that the receiver took the delivery: any 2xx.
#[must_use]
pub const fn is_success(status: u16) -> bool {
    status >= 200 && status < 300
}

/// At most `max` characters of `text`, control characters escaped as `\u{…}`.
///
/// An escape is never cut in half.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    let mut clipped = String::new();
    let mut used = 0;
    for c in text.chars() {
        let piece: String = if c.is_control() { c.escape_default().collect() } else { c.into() };
        used += piece.chars().count();
        if used > max {
            break;
        }
        clipped.push_str(&piece);
    }
    clipped
}

/// The beginning of a response body as text: at most [`EXCERPT_BYTES`] bytes, cut on a character boundary,
/// what is not UTF-8 replaced, control characters escaped.
#[must_use]
pub fn excerpt(body: &[u8]) -> String {
    let body = &body[..body.len().min(EXCERPT_BYTES)];
    let mut text = clip(&String::from_utf8_lossy(body), EXCERPT_BYTES);
    while text.len() > EXCERPT_BYTES {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_counts_characters_and_keeps_escapes_whole() {
        assert_eq!(clip("grüße", 3), "grü");
        assert_eq!(clip("a\nb", 10), "a\\nb");
        assert_eq!(clip("ab\n", 3), "ab");
        assert_eq!(clip("\u{7f}", 10), "\\u{7f}");
    }

    #[test]
    fn excerpt_is_bounded_in_bytes_whatever_comes() {
        for body in [vec![0xff; 5000], "ß".repeat(3000).into_bytes(), vec![0; 5000], b"ok".to_vec()] {
            assert!(excerpt(&body).len() <= EXCERPT_BYTES);
        }
        assert_eq!(excerpt(b"ok"), "ok");
    }

    #[test]
    fn a_failure_text_names_the_stage() {
        let failure = Failure { kind: FailureKind::Connect, detail: "refused".into() };
        let outcome = Outcome { duration_ms: 1, result: Err(failure) };
        assert_eq!(outcome.error().as_deref(), Some("connect: refused"));
    }
}
