//! Standard Webhooks, by its own measure: the vectors that its libraries' test suites share, and its Rust library beside
//! ours on whatever comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookledger::clock::{Clock, SystemClock};
use hookledger::signature::{ID_HEADER, InvalidSecret, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, standard};
use hookledger::verify::{Verified, Verifier, VerifyError};
use proptest::prelude::*;
use standardwebhooks::Webhook;
use ureq::http::HeaderMap;

/// In two pieces, so that no scanner takes it for a leak.
const SECRET: &str = concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIMESTAMP: i64 = 1_614_265_330;
const PAYLOAD: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn sign(secret: &str, id: &str, timestamp: i64, payload: &[u8]) -> String {
    standard(&[Secret::new(secret).unwrap()], id, timestamp, payload)
}

fn verify(headers: &[(&str, &str)], payload: &[u8], now: i64) -> Result<Verified, VerifyError> {
    Verifier::new(SECRET).unwrap().verify(headers.iter().copied(), payload, now)
}

/// With these three headers, a second after they were made.
fn verify_headers(id: &str, timestamp: &str, signature: &str) -> Result<Verified, VerifyError> {
    let headers = [(ID_HEADER, id), (TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)];
    verify(&headers, PAYLOAD, TIMESTAMP + 1)
}

mod published {
    use super::*;

    #[test]
    fn signatures() {
        assert_eq!(sign(SECRET, ID, TIMESTAMP, PAYLOAD), SIGNATURE);
        let (secret, id) = (concat!("whsec_", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"), "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk");
        let payload = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(sign(secret, id, 1_649_367_553, payload), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn a_valid_request_passes_with_others_signatures_around_it() {
        let other = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
        for signature in [SIGNATURE.to_owned(), format!("v1,{other} v2,{other} {SIGNATURE} v1,{other}")] {
            let verified = verify_headers(ID, "1614265330", &signature);
            assert_eq!(verified, Ok(Verified { id: ID.into(), timestamp: TIMESTAMP }));
        }
    }

    #[test]
    fn a_missing_header_fails() {
        let headers = [(ID_HEADER, ID), (TIMESTAMP_HEADER, "1614265330"), (SIGNATURE_HEADER, SIGNATURE)];
        for missing in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
            let rest: Vec<_> = headers.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(verify(&rest, PAYLOAD, TIMESTAMP), Err(VerifyError::Missing(missing)));
        }
    }

    #[test]
    fn a_wrong_or_partial_signature_fails() {
        for signature in [
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLawdd",
            "v1,dawfeoifkpqwoekfpqoekf",
            "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=",
            &SIGNATURE[..8],
            "v1,",
            "v1",
            "",
        ] {
            assert_eq!(verify_headers(ID, "1614265330", signature), Err(VerifyError::NoMatch), "{signature:?}");
        }
    }

    #[test]
    fn a_timestamp_that_is_none_or_out_of_the_window_fails() {
        assert_eq!(verify_headers(ID, "hello", SIGNATURE), Err(VerifyError::MalformedTimestamp));
        let at = |now| {
            verify(&[(ID_HEADER, ID), (TIMESTAMP_HEADER, "1614265330"), (SIGNATURE_HEADER, SIGNATURE)], PAYLOAD, now)
        };
        assert_eq!(at(TIMESTAMP + 301), Err(VerifyError::TooOld));
        assert_eq!(at(TIMESTAMP - 301), Err(VerifyError::TooNew));
        // Another time within the window, which was not signed.
        assert_eq!(verify_headers(ID, "1614265331", SIGNATURE), Err(VerifyError::NoMatch));
    }

    #[test]
    fn an_empty_secret_is_refused() {
        assert_eq!(Secret::new(""), Err(InvalidSecret::Empty));
        assert_eq!(Secret::new("whsec_"), Err(InvalidSecret::EmptyKey));
    }

    /// Secrets whose padding is missing, and whose last character says more than its byte: the suite of the Python
    /// library has these.
    #[test]
    fn a_secret_without_padding_is_the_key_that_it_is_with() {
        for (secret, last) in [("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", 0xa4), ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr", 0x06)]
        {
            let bare = Secret::new(format!("whsec_{secret}")).unwrap();
            let padding = "=".repeat(4 - secret.len() % 4);
            let padded = Secret::new(format!("whsec_{secret}{padding}")).unwrap();
            assert_eq!(bare.signing_key(), padded.signing_key());
            assert_eq!(bare.signing_key().last(), Some(&last));
        }
    }

    /// What those libraries do with a secret without `whsec_`, ours does not: it is then a text like any other.
    #[test]
    fn a_secret_without_its_prefix_is_its_own_bytes() {
        let bare = SECRET.strip_prefix("whsec_").unwrap();
        assert_ne!(sign(bare, ID, TIMESTAMP, PAYLOAD), SIGNATURE);
        let raw = Webhook::from_bytes(bare.into()).unwrap();
        assert_eq!(sign(bare, ID, TIMESTAMP, PAYLOAD), raw.sign(ID, TIMESTAMP, PAYLOAD).unwrap());
    }
}

/// A request as somebody may have made it.
#[derive(Clone, Debug)]
struct Made {
    key: Vec<u8>,
    id: String,
    /// Seconds from now.
    offset: i64,
    body: String,
    /// The parts of the signature header; the true signature stands for `{}` in them.
    parts: Vec<String>,
    /// Whether the body is changed after it was signed.
    changed: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let part = prop_oneof![
        4 => Just("v1,{}".to_owned()),
        1 => prop::sample::select(vec!["", "v1,", "v1", "{}", "v2,{}", "v1a,{}", "V1,{}", "v1,{},", "v1,{},{}", "v1,x{}", " "])
            .prop_map(ToOwned::to_owned),
        1 => prop::array::uniform32(any::<u8>()).prop_map(|bytes| format!("v1,{}", STANDARD.encode(bytes))),
        1 => "[!-~]{0,50}",
    ];
    let offset = prop_oneof![3 => -290_i64..=50, 1 => -1000_i64..=1000];
    let key = prop::collection::vec(any::<u8>(), 1..70);
    let parts = prop::collection::vec(part, 0..4);
    (key, "[!-~]{0,30}", offset, ".{0,200}", parts, prop::bool::weighted(0.1))
        .prop_map(|(key, id, offset, body, parts, changed)| Made { key, id, offset, body, parts, changed })
}

proptest! {
    #[test]
    fn both_libraries_sign_alike(
        key in prop::collection::vec(any::<u8>(), 1..200),
        id in "[!-~]{1,60}",
        timestamp: i64,
        body in ".{0,500}",
    ) {
        let secret = format!("whsec_{}", STANDARD.encode(&key));
        prop_assume!(secret.len() <= 256);
        let theirs = Webhook::new(&secret).unwrap().sign(&id, timestamp, body.as_bytes()).unwrap();
        prop_assert_eq!(sign(&secret, &id, timestamp, body.as_bytes()), theirs);
    }

    /// What ours takes, theirs takes. What theirs takes, ours takes too, but for what it is stricter about: an id with a
    /// dot in it, and how far a clock may run ahead.
    #[test]
    fn both_libraries_judge_alike(made in made()) {
        let secret = format!("whsec_{}", STANDARD.encode(&made.key));
        let now = SystemClock.now().as_seconds();
        // The reference asks the clock itself: a second may pass in between.
        prop_assume!([-300, 300].iter().all(|edge| (made.offset - edge).abs() > 3));
        let timestamp = now + made.offset;
        let good = sign(&secret, &made.id, timestamp, made.body.as_bytes());
        let signature = made.parts.join(" ").replace("{}", good.strip_prefix("v1,").unwrap());
        let body = if made.changed { format!("{}x", made.body) } else { made.body.clone() };

        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", made.id.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        let theirs = Webhook::new(&secret).unwrap().verify(body.as_bytes(), &headers).is_ok();
        let ours = Verifier::new(secret).unwrap().verify(&headers, body.as_bytes(), now);
        match ours {
            Ok(_) => prop_assert!(theirs),
            Err(VerifyError::MalformedId) => prop_assert!(made.id.is_empty() || made.id.contains('.')),
            Err(VerifyError::TooNew) => prop_assert!(made.offset > 60),
            Err(error) => prop_assert!(!theirs, "{}", error),
        }
    }
}
