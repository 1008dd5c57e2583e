//! Signatures over what is sent: pure functions from a secret and the bytes to header values.
//!
//! Every attempt carries two forms. The one to verify is that of [Standard Webhooks] 1.0, which covers the delivery's
//! id, the attempt's time and the body. The other is GitHub's, which covers the body alone: it is there for receivers
//! that know nothing else, and can't tell a fresh request from a recorded one.
//!
//! What is emitted is strict, because verification libraries disagree on anything looser: padded standard base64,
//! lower-case hexadecimal, single spaces, plain decimal seconds.
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The header with the delivery's id: the same on every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the attempt's time, in Unix seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures in the form of Standard Webhooks, see [`standard`].
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// The header with the signature in GitHub's form, see [`github`].
pub const GITHUB_SIGNATURE_HEADER: &str = "X-Webhook-Signature";

/// The prefix of a secret whose key is written in base64 (Standard Webhooks, "Signature scheme").
const ENCODED_PREFIX: &str = "whsec_";

/// The longest secret, in characters.
const SECRET_CHARS: usize = 256;

/// Base64 as people paste it: the padding may be missing, and the last character may say more than its byte. The
/// libraries of Standard Webhooks have such secrets among their vectors.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A signing secret, shared with a receiver.
///
/// It has no `Display`, its `Debug` is masked, and it is compared in constant time.
#[derive(Clone)]
pub struct Secret {
    text: String,
    key: Vec<u8>,
}

impl Secret {
    /// Takes a secret of 1 to 256 characters.
    ///
    /// # Errors
    ///
    /// When it is empty or too long, or begins with `whsec_` and the rest is not the base64 of at least one byte.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidSecret> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidSecret::Empty);
        }
        if text.chars().count() > SECRET_CHARS {
            return Err(InvalidSecret::TooLong);
        }
        let key = match text.strip_prefix(ENCODED_PREFIX) {
            None => text.as_bytes().to_vec(),
            Some("") => return Err(InvalidSecret::EmptyKey),
            Some(encoded) => LENIENT.decode(encoded).map_err(|_| InvalidSecret::NotBase64)?,
        };
        if key.is_empty() {
            return Err(InvalidSecret::EmptyKey);
        }
        Ok(Self { text, key })
    }

    /// The secret as it was given.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The key of the Standard Webhooks form: of a `whsec_…` secret its base64-decoded bytes, of any other its
    /// UTF-8 bytes.
    #[must_use]
    pub fn signing_key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text.as_bytes().ct_eq(other.text.as_bytes()).into()
    }
}

impl Eq for Secret {}

/// Why a text can't be a [`Secret`]. The messages don't repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It is empty.
    Empty,
    /// It is longer than 256 characters.
    TooLong,
    /// It begins with `whsec_`, and the rest is not base64.
    NotBase64,
    /// It begins with `whsec_`, and the rest encodes no byte: anyone could sign with that key.
    EmptyKey,
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the secret is empty",
            Self::TooLong => "the secret is longer than 256 characters",
            Self::NotBase64 => "the secret begins with whsec_, but the rest is not standard base64",
            Self::EmptyKey => "the secret begins with whsec_, but no key follows",
        })
    }
}

impl std::error::Error for InvalidSecret {}

/// What one attempt says about itself, and the bytes that it sends.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The delivery's id. It must not contain a `.`, which separates the signed parts.
    pub id: &'a str,
    /// The time of this attempt, in Unix seconds.
    pub timestamp: i64,
    /// The event's name: `completed` and the like.
    pub event: &'a str,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The exact bytes of the body.
    pub body: &'a [u8],
}

/// The headers of one attempt, but for those that the transport sets itself. Without a secret there are no
/// signatures; with several, the Standard Webhooks form carries one of each, and GitHub's form is made with the first.
#[must_use]
pub fn headers(message: &Message<'_>, secrets: &[Secret]) -> Vec<(&'static str, String)> {
    let timestamp = message.timestamp.to_string();
    let mut headers = vec![(ID_HEADER, message.id.to_owned()), (TIMESTAMP_HEADER, timestamp.clone())];
    if let Some(first) = secrets.first() {
        headers.push((SIGNATURE_HEADER, standard(secrets, message.id, message.timestamp, message.body)));
        headers.push((GITHUB_SIGNATURE_HEADER, github(first, message.body)));
    }
    headers.push(("X-Webhook-Timestamp", timestamp));
    headers.push(("X-Webhook-Event", message.event.to_owned()));
    headers.push(("X-Webhook-Attempt", message.attempt.to_string()));
    headers
}

/// The value of `webhook-signature` (Standard Webhooks 1.0): for each secret `v1,` and the padded base64 of
/// HMAC-SHA256(key, `{id}.{timestamp}.{body}`), separated by single spaces.
#[must_use]
pub fn standard(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp_s}.");
    let sign = |secret: &Secret| {
        let mac = hmac_sha256(secret.signing_key(), &[head.as_bytes(), body]);
        format!("v1,{}", STANDARD.encode(mac))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// The value of `X-Webhook-Signature`, in GitHub's form: `sha256=` and the lower-case hexadecimal of
/// HMAC-SHA256(secret's UTF-8 bytes as given, body). It covers neither the id nor the time.
#[must_use]
pub fn github(secret: &Secret, body: &[u8]) -> String {
    let mac = hmac_sha256(secret.expose().as_bytes(), &[body]);
    let mut signature = String::with_capacity("sha256=".len() + 2 * mac.len());
    signature.push_str("sha256=");
    for byte in mac {
        signature.push(hex_digit(byte >> 4));
        signature.push(hex_digit(byte & 0x0f));
    }
    signature
}

fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 })
}

/// HMAC-SHA256 (RFC 2104) over the parts, one after another.
#[allow(clippy::expect_used, reason = "HMAC is defined for a key of any length (RFC 2104, section 3)")]
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the published examples; in two pieces, so that no scanner takes it for a leak.
    const PUBLISHED: &str = concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    const BODY: &[u8] = br#"{"id": "batch_1", "status": "completed"}"#;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    #[test]
    fn signs_the_published_standard_webhooks_example() {
        let signature =
            standard(&[secret(PUBLISHED)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// The example of GitHub's "Validating webhook deliveries".
    #[test]
    fn signs_githubs_published_example() {
        let signature = github(&secret("It's a Secret to Everybody"), b"Hello, World!");
        assert_eq!(signature, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    }

    /// Computed with Python: the `standardwebhooks` package for the first, `hmac` for all.
    #[test]
    fn golden_vectors() {
        let cases = [
            (
                PUBLISHED,
                "v1,z965cnJAnBlQ6g7jo3iMgS7XFpYAi1eAcurRgi2VNUE=",
                "sha256=b0f90bcad81a81cb1642dceea4e4aa86e9585b0ff2790238a6c54bce1c9706fd",
            ),
            (
                "plain-secret",
                "v1,B4VWMECSXDroi1tUPnlPRcpehJa/9rlu2Wk65zguf0Y=",
                "sha256=66000ce8c1730ff66d21abab741889251dad089f33d4d2a628967125c39174e3",
            ),
            (
                "grüße",
                "v1,fIbdoqctVNOEEXbJDxhiYsRCChb8At32I4bOrvMKSD4=",
                "sha256=8c14cf23ccc8dbbd02e384dfd037499aca69370f85eb7cf74b81c6eabba9f13c",
            ),
        ];
        for (text, expected_standard, expected_github) in cases {
            let secret = secret(text);
            assert_eq!(standard(std::slice::from_ref(&secret), "msg_1", 1_700_000_000, BODY), expected_standard);
            assert_eq!(github(&secret, BODY), expected_github);
        }
    }

    #[test]
    fn a_whsec_secret_is_a_base64_key_and_any_other_is_its_bytes() {
        assert_eq!(secret("whsec_aGVsbG8=").signing_key(), b"hello");
        assert_eq!(secret("whsec_aGVsbG8").signing_key(), b"hello");
        assert_eq!(secret("aGVsbG8=").signing_key(), b"aGVsbG8=");
        assert_eq!(secret("whsec_aGVsbG8=").expose(), "whsec_aGVsbG8=");
    }

    #[test]
    fn refuses_what_is_no_secret() {
        assert_eq!(Secret::new(""), Err(InvalidSecret::Empty));
        assert_eq!(Secret::new("whsec_"), Err(InvalidSecret::EmptyKey));
        assert_eq!(Secret::new("whsec_not base64!"), Err(InvalidSecret::NotBase64));
        assert_eq!(Secret::new("ß".repeat(257)), Err(InvalidSecret::TooLong));
        assert!(Secret::new("ß".repeat(256)).is_ok());
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", secret("hunter2")), "Secret(…)");
        assert!(!InvalidSecret::NotBase64.to_string().is_empty());
    }

    #[test]
    fn one_signature_per_secret_separated_by_single_spaces() {
        let (a, b) = (secret("a"), secret("b"));
        let both = standard(&[a.clone(), b.clone()], "msg_1", 1, BODY);
        assert_eq!(both, format!("{} {}", standard(&[a], "msg_1", 1, BODY), standard(&[b], "msg_1", 1, BODY)));
    }

    #[test]
    fn headers_of_a_signed_attempt() {
        let message = Message { id: "msg_1", timestamp: 1_700_000_000, event: "completed", attempt: 2, body: BODY };
        let secrets = [secret("plain-secret"), secret("old")];
        let expected = vec![
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", "1700000000".to_owned()),
            ("webhook-signature", standard(&secrets, "msg_1", 1_700_000_000, BODY)),
            ("X-Webhook-Signature", github(&secrets[0], BODY)),
            ("X-Webhook-Timestamp", "1700000000".to_owned()),
            ("X-Webhook-Event", "completed".to_owned()),
            ("X-Webhook-Attempt", "2".to_owned()),
        ];
        assert_eq!(headers(&message, &secrets), expected);
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let message = Message { id: "msg_1", timestamp: 1, event: "failed", attempt: 1, body: BODY };
        let names: Vec<_> = headers(&message, &[]).into_iter().map(|(name, _)| name).collect();
        let expected =
            ["webhook-id", "webhook-timestamp", "X-Webhook-Timestamp", "X-Webhook-Event", "X-Webhook-Attempt"];
        assert_eq!(names, expected);
    }
}
