use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::signature::Message;

const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = br#"{"id": "batch_1", "status": "completed"}"#;

type Headers = Vec<(&'static str, String)>;

fn signed(secret: &str, timestamp: i64, body: &[u8]) -> Headers {
    let message = Message { id: "msg_1", timestamp, event: "completed", attempt: 1, body };
    signature::headers(&message, &[Secret::new(secret).unwrap()])
}

fn with(mut headers: Headers, name: &'static str, value: &str) -> Headers {
    headers.retain(|(n, _)| *n != name);
    headers.push((name, value.to_owned()));
    headers
}

fn without(mut headers: Headers, name: &str) -> Headers {
    headers.retain(|(n, _)| *n != name);
    headers
}

fn value(headers: &Headers, name: &str) -> String {
    headers.iter().find(|(n, _)| *n == name).unwrap().1.clone()
}

fn verify(headers: Headers) -> Result<Verified, VerifyError> {
    Verifier::new("s3cret").unwrap().verify(headers, BODY, NOW)
}

#[test]
fn takes_what_was_signed_and_says_what_it_was() {
    let verified = verify(signed("s3cret", NOW - 7, BODY));
    assert_eq!(verified, Ok(Verified { id: "msg_1".into(), timestamp: NOW - 7 }));
}

#[test]
fn the_window_is_five_minutes_back_and_one_minute_ahead() {
    assert!(verify(signed("s3cret", NOW - 300, BODY)).is_ok());
    assert_eq!(verify(signed("s3cret", NOW - 301, BODY)), Err(VerifyError::TooOld));
    assert!(verify(signed("s3cret", NOW + 60, BODY)).is_ok());
    assert_eq!(verify(signed("s3cret", NOW + 61, BODY)), Err(VerifyError::TooNew));
    assert_eq!(verify(signed("s3cret", i64::MAX, BODY)), Err(VerifyError::TooNew));
    assert_eq!(verify(signed("s3cret", 0, BODY)), Err(VerifyError::TooOld));
}

#[test]
fn the_window_can_be_chosen() {
    let verifier = Verifier::new("s3cret").unwrap().tolerance(Duration::from_secs(10));
    assert!(verifier.verify(signed("s3cret", NOW - 10, BODY), BODY, NOW).is_ok());
    assert_eq!(verifier.verify(signed("s3cret", NOW - 11, BODY), BODY, NOW), Err(VerifyError::TooOld));
    let forever = verifier.tolerance(Duration::MAX);
    assert!(forever.verify(signed("s3cret", 0, BODY), BODY, NOW).is_ok());
}

#[test]
fn anything_changed_after_signing_fails() {
    let headers = signed("s3cret", NOW, BODY);
    let verifier = Verifier::new("s3cret").unwrap();
    assert_eq!(verifier.verify(headers.clone(), b"{}", NOW), Err(VerifyError::NoMatch));
    assert_eq!(verify(with(headers.clone(), ID_HEADER, "msg_2")), Err(VerifyError::NoMatch));
    let later = (NOW + 1).to_string();
    assert_eq!(verify(with(headers, TIMESTAMP_HEADER, &later)), Err(VerifyError::NoMatch));
    assert_eq!(verify(signed("another", NOW, BODY)), Err(VerifyError::NoMatch));
}

#[test]
fn a_missing_or_repeated_header_fails() {
    for name in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
        let headers = signed("s3cret", NOW, BODY);
        assert_eq!(verify(without(headers.clone(), name)), Err(VerifyError::Missing(name)));
        let mut twice = headers.clone();
        twice.push((name, value(&headers, name)));
        assert_eq!(verify(twice), Err(VerifyError::Repeated(name)));
    }
    assert_eq!(verify(Vec::new()), Err(VerifyError::Missing(ID_HEADER)));
}

#[test]
fn a_timestamp_has_one_spelling() {
    let overflow = "9".repeat(40);
    for text in ["", " ", "+1700000000", "-1", "01700000000", "1700000000 ", "1700000000.0", "0x1", "１", &overflow] {
        let headers = with(signed("s3cret", NOW, BODY), TIMESTAMP_HEADER, text);
        assert_eq!(verify(headers), Err(VerifyError::MalformedTimestamp), "{text:?}");
    }
}

#[test]
fn an_id_that_could_borrow_from_what_follows_fails() {
    for id in ["", "msg.1"] {
        assert_eq!(verify(with(signed("s3cret", NOW, BODY), ID_HEADER, id)), Err(VerifyError::MalformedId));
    }
}

#[test]
fn one_good_signature_among_others_is_enough() {
    let headers = signed("s3cret", NOW, BODY);
    let good = value(&headers, SIGNATURE_HEADER);
    let wrong = value(&signed("another", NOW, BODY), SIGNATURE_HEADER);
    for header in [format!("{wrong} {good}"), format!("v1a,xyz {good}"), format!("{good} v2,abc"), format!(" {good} ")]
    {
        assert!(verify(with(headers.clone(), SIGNATURE_HEADER, &header)).is_ok(), "{header:?}");
    }
}

#[test]
fn what_is_no_v1_signature_never_passes() {
    let headers = signed("s3cret", NOW, BODY);
    let good = value(&headers, SIGNATURE_HEADER);
    let bare = good.strip_prefix("v1,").unwrap();
    let loose = [
        String::new(),
        " ".into(),
        "v1,".into(),
        bare.into(),
        format!("v1a,{bare}"),
        format!("v2,{bare}"),
        format!("V1,{bare}"),
        format!("v1={bare}"),
        good.trim_end_matches('=').into(),
        format!("{good},{good}"),
    ];
    for header in loose {
        let headers = with(headers.clone(), SIGNATURE_HEADER, &header);
        assert_eq!(verify(headers), Err(VerifyError::NoMatch), "{header:?}");
    }
}

#[test]
fn any_of_several_secrets_passes() {
    let verifier = Verifier::new("new").unwrap().and_secret("old").unwrap();
    assert!(verifier.verify(signed("old", NOW, BODY), BODY, NOW).is_ok());
    assert!(verifier.verify(signed("new", NOW, BODY), BODY, NOW).is_ok());
    assert_eq!(verifier.verify(signed("older", NOW, BODY), BODY, NOW), Err(VerifyError::NoMatch));
}

#[test]
fn neither_scheme_takes_the_other_ones_signature() {
    let headers = signed("s3cret", NOW, BODY);
    let standard = value(&headers, SIGNATURE_HEADER);
    let github = value(&headers, GITHUB_SIGNATURE_HEADER);

    let only_github = without(headers.clone(), SIGNATURE_HEADER);
    assert_eq!(verify(only_github), Err(VerifyError::Missing(SIGNATURE_HEADER)));
    assert_eq!(verify(with(headers.clone(), SIGNATURE_HEADER, &github)), Err(VerifyError::NoMatch));

    let verifier = Verifier::new("s3cret").unwrap().scheme(Scheme::GitHub);
    assert!(verifier.verify(headers.clone(), BODY, NOW).is_ok());
    assert_eq!(verifier.verify(headers.clone(), b"{}", NOW), Err(VerifyError::NoMatch));
    let swapped = with(headers.clone(), GITHUB_SIGNATURE_HEADER, &standard);
    assert_eq!(verifier.verify(swapped, BODY, NOW), Err(VerifyError::NoMatch));
    let only_standard = without(headers, GITHUB_SIGNATURE_HEADER);
    assert_eq!(verifier.verify(only_standard, BODY, NOW), Err(VerifyError::Missing(GITHUB_SIGNATURE_HEADER)));
}

#[test]
fn the_github_scheme_holds_the_window_too() {
    let verifier = Verifier::new("s3cret").unwrap().scheme(Scheme::GitHub);
    assert_eq!(verifier.verify(signed("s3cret", NOW - 301, BODY), BODY, NOW), Err(VerifyError::TooOld));
    let headers = without(signed("s3cret", NOW, BODY), TIMESTAMP_HEADER);
    assert_eq!(verifier.verify(headers, BODY, NOW), Err(VerifyError::Missing(TIMESTAMP_HEADER)));
}

#[test]
fn header_names_have_no_case_and_any_map_will_do() {
    let headers: HashMap<String, String> =
        signed("s3cret", NOW, BODY).into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect();
    assert!(Verifier::new("s3cret").unwrap().verify(&headers, BODY, NOW).is_ok());
}

#[test]
fn an_unusable_secret_is_refused_and_none_is_printed() {
    assert_eq!(Verifier::new("").err(), Some(InvalidSecret::Empty));
    assert_eq!(Verifier::new("s3cret").unwrap().and_secret("whsec_").err(), Some(InvalidSecret::EmptyKey));
    assert!(!format!("{:?}", Verifier::new("s3cret").unwrap()).contains("s3cret"));
}

proptest! {
    #[test]
    fn what_is_signed_verifies(secret in "[ -~]{1,40}", id in "[A-Za-z0-9_-]{1,40}", body in any::<Vec<u8>>()) {
        prop_assume!(!secret.starts_with("whsec_"));
        let message = Message { id: &id, timestamp: NOW, event: "completed", attempt: 1, body: &body };
        let headers = signature::headers(&message, &[Secret::new(secret.as_str()).unwrap()]);
        for scheme in [Scheme::StandardWebhooks, Scheme::GitHub] {
            let verifier = Verifier::new(secret.as_str()).unwrap().scheme(scheme);
            let verified = verifier.verify(headers.clone(), &body, NOW);
            prop_assert_eq!(verified, Ok(Verified { id: id.clone(), timestamp: NOW }));
        }
    }

    /// Any one bit of the id, the timestamp, the signature or the body.
    #[test]
    fn any_flipped_bit_fails(part in 0..4_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut parts: Vec<Vec<u8>> = signed("s3cret", NOW, BODY)[..3].iter().map(|(_, v)| v.clone().into()).collect();
        parts.push(BODY.to_vec());
        let at = at.index(parts[part].len());
        parts[part][at] ^= 1 << bit;
        let headers = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].into_iter().zip(&parts);
        prop_assert!(Verifier::new("s3cret").unwrap().verify(headers, &parts[3], NOW).is_err());
    }
}
