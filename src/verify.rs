//! Verifying, for receivers: is this request from the holder of the secret, unchanged, and fresh?
//!
//! Give it the headers, the raw body (before any parsing) and the time; it fails closed. The scheme is chosen here, by
//! the receiver, never by the request: there is no falling back from the form that covers the timestamp to the one
//! that doesn't.
//!
//! ```
//! use hookledger::signature::{Message, Secret, headers};
//! use hookledger::verify::{Verifier, VerifyError};
//!
//! let verifier = Verifier::new("my-secret")?;
//!
//! // A request, as it comes. The headers of axum and hyper can be given as they are: `&request.headers()`.
//! let body = br#"{"id": "batch_1", "status": "completed"}"#;
//! let message = Message { id: "msg_1", timestamp: 1_700_000_000, event: "completed", attempt: 1, body };
//! let headers = headers(&message, &[Secret::new("my-secret")?]);
//!
//! // `now`: the time in Unix seconds. An id seen before is a repetition, to be answered with a 2xx and not acted on.
//! let now = 1_700_000_002;
//! let verified = verifier.verify(headers.clone(), body, now)?;
//! assert_eq!(verified.id, "msg_1");
//!
//! // Recorded, and sent again an hour later:
//! assert_eq!(verifier.verify(headers, body, now + 3600), Err(VerifyError::TooOld));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};

use crate::signature::{self, InvalidSecret, Secret};
use crate::signature::{GITHUB_SIGNATURE_HEADER, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

/// How old a request may be, unless [`Verifier::tolerance`] says otherwise.
const TOLERANCE_S: u64 = 300;

/// How far the sender's clock may run ahead.
const AHEAD_S: i64 = 60;

/// Which signature is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `webhook-signature`: covers the id, the timestamp and the body.
    #[default]
    StandardWebhooks,
    /// `X-Webhook-Signature`: covers the body alone. The id and the timestamp are demanded and the window is held, but
    /// whoever has recorded one request can send it again with others. For receivers that must.
    GitHub,
}

/// Verifies requests made with one of its secrets.
#[derive(Clone, Debug)]
pub struct Verifier {
    secrets: Vec<Secret>,
    scheme: Scheme,
    tolerance_s: i64,
}

/// What a request that passed says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The delivery's id: the same on every attempt, so the receiver's idempotency key.
    pub id: String,
    /// The time of the attempt, in Unix seconds.
    pub timestamp: i64,
}

impl Verifier {
    /// Verifies Standard Webhooks signatures made with `secret`, at most five minutes old.
    ///
    /// # Errors
    ///
    /// When the secret can't be one, see [`Secret::new`].
    pub fn new(secret: impl Into<String>) -> Result<Self, InvalidSecret> {
        let tolerance = Duration::from_secs(TOLERANCE_S);
        Ok(Self { secrets: vec![Secret::new(secret)?], scheme: Scheme::default(), tolerance_s: 0 }.tolerance(tolerance))
    }

    /// Takes signatures made with `secret` too: while a secret is being replaced, both are active.
    ///
    /// # Errors
    ///
    /// When the secret can't be one, see [`Secret::new`].
    pub fn and_secret(mut self, secret: impl Into<String>) -> Result<Self, InvalidSecret> {
        self.secrets.push(Secret::new(secret)?);
        Ok(self)
    }

    /// Verifies this scheme, and no other.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Takes requests that are at most so old, in whole seconds. The allowance for clocks that run ahead stays one
    /// minute.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance_s = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
        self
    }

    /// Verifies one request: its headers as pairs of name and value, its body as it came, and the time now in Unix
    /// seconds.
    ///
    /// Header names are compared without regard to case. Anything that yields pairs will do: an `&http::HeaderMap`
    /// (axum, hyper), a `&HashMap<String, String>`, or for `tiny_http`
    /// `request.headers().iter().map(|h| (h.field.as_str().as_str(), h.value.as_str()))`.
    ///
    /// # Errors
    ///
    /// Why the request must not be trusted.
    pub fn verify<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        now_unix_s: i64,
    ) -> Result<Verified, VerifyError> {
        let found = Found::among(headers, self.signature_header())?;
        let id = found.id.ok_or(VerifyError::Missing(ID_HEADER))?;
        let timestamp = found.timestamp.ok_or(VerifyError::Missing(TIMESTAMP_HEADER))?;
        let signature = found.signature.ok_or(VerifyError::Missing(self.signature_header()))?;
        let id = parse_id(id)?;
        let timestamp = parse_timestamp(&timestamp)?;
        self.check_window(timestamp, now_unix_s)?;
        self.check_signature(&signature, &id, timestamp, body)?;
        Ok(Verified { id, timestamp })
    }

    fn signature_header(&self) -> &'static str {
        match self.scheme {
            Scheme::StandardWebhooks => SIGNATURE_HEADER,
            Scheme::GitHub => GITHUB_SIGNATURE_HEADER,
        }
    }

    fn check_window(&self, timestamp: i64, now: i64) -> Result<(), VerifyError> {
        let age = now.saturating_sub(timestamp);
        if age > self.tolerance_s {
            Err(VerifyError::TooOld)
        } else if age < -AHEAD_S {
            Err(VerifyError::TooNew)
        } else {
            Ok(())
        }
    }

    /// Compares every candidate with what every secret would have signed. Nothing ends it early, so the time it takes
    /// says nothing of which one matched.
    fn check_signature(&self, header: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Result<(), VerifyError> {
        let mut matched = Choice::from(0);
        for secret in &self.secrets {
            let (separator, expected) = match self.scheme {
                Scheme::StandardWebhooks => {
                    (Some(b' '), signature::standard(std::slice::from_ref(secret), id, timestamp, body))
                }
                Scheme::GitHub => (None, signature::github(secret, body)),
            };
            for candidate in header.split(|byte| Some(*byte) == separator) {
                // Lengths are compared first, and are no secret. Versions other than `v1,` never equal a `v1,`.
                matched |= candidate.ct_eq(expected.as_bytes());
            }
        }
        if matched.into() { Ok(()) } else { Err(VerifyError::NoMatch) }
    }
}

/// The three headers that count.
#[derive(Default)]
struct Found {
    id: Option<Vec<u8>>,
    timestamp: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

impl Found {
    fn among<N: AsRef<str>, V: AsRef<[u8]>>(
        headers: impl IntoIterator<Item = (N, V)>,
        signature: &'static str,
    ) -> Result<Self, VerifyError> {
        let mut found = Self::default();
        for (name, value) in headers {
            let name = name.as_ref();
            let (name, slot) = if name.eq_ignore_ascii_case(ID_HEADER) {
                (ID_HEADER, &mut found.id)
            } else if name.eq_ignore_ascii_case(TIMESTAMP_HEADER) {
                (TIMESTAMP_HEADER, &mut found.timestamp)
            } else if name.eq_ignore_ascii_case(signature) {
                (signature, &mut found.signature)
            } else {
                continue;
            };
            if slot.replace(value.as_ref().to_vec()).is_some() {
                return Err(VerifyError::Repeated(name));
            }
        }
        Ok(found)
    }
}

/// A `.` separates the signed parts: an id that contains one could borrow from what follows.
fn parse_id(id: Vec<u8>) -> Result<String, VerifyError> {
    let id = String::from_utf8(id).map_err(|_| VerifyError::MalformedId)?;
    if id.is_empty() || id.contains('.') { Err(VerifyError::MalformedId) } else { Ok(id) }
}

/// Plain decimal seconds: no sign, no blank, no leading zero, so that one number has one spelling.
fn parse_timestamp(text: &[u8]) -> Result<i64, VerifyError> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    let number = str::from_utf8(text).ok().filter(|_| plain).and_then(|text| text.parse().ok());
    number.ok_or(VerifyError::MalformedTimestamp)
}

/// Why a request must not be trusted. Answer it with a 400 or 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// This header is missing.
    Missing(&'static str),
    /// This header is there more than once.
    Repeated(&'static str),
    /// The id is empty, contains a `.`, or is not UTF-8.
    MalformedId,
    /// The timestamp is not a plain decimal number of seconds.
    MalformedTimestamp,
    /// The request is older than tolerated: perhaps a recorded one, sent again.
    TooOld,
    /// The request's time is more than a minute ahead of ours.
    TooNew,
    /// No signature in the header was made with one of the secrets over this request.
    NoMatch,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(header) => write!(f, "the header {header} is missing"),
            Self::Repeated(header) => write!(f, "the header {header} is there more than once"),
            Self::MalformedId => f.write_str("the id is empty, contains a dot, or is not UTF-8"),
            Self::MalformedTimestamp => f.write_str("the timestamp is not a plain decimal number of seconds"),
            Self::TooOld => f.write_str("the timestamp is too old"),
            Self::TooNew => f.write_str("the timestamp is too far in the future"),
            Self::NoMatch => f.write_str("no signature matches"),
        }
    }
}

impl std::error::Error for VerifyError {}

#[cfg(test)]
mod tests;
