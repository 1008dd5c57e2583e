//! Receivers as they are out there, and what is recorded of each: one table, one receiver a row.
//!
//! Every attempt has to end within its time-out. The bound that is asserted is far above that, so that a machine under load
//! does not fail it, and far below for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod animals;
mod names;
mod receiver;
mod tls;

use std::sync::atomic::Ordering;
use std::time::Duration;

use animals::{Animal, Recorded};
use hookledger::domain::headers::CustomHeaders;
use hookledger::domain::outcome::Outcome;
use hookledger::transport::guard::Guard;
use hookledger::transport::ureq::{UreqSettings, UreqTransport};
use hookledger::transport::{Request, Transport};
use receiver::Receiver;

const BODY: &[u8] = br#"{"id": "batch_1"}"#;

/// For receivers that answer: never reached.
const LONG: Duration = Duration::from_secs(20);

/// For those that don't.
const SHORT: Duration = Duration::from_millis(400);

/// Above every time-out, on a machine under load.
const BOUND_MS: u32 = 60_000;

/// What a receiver may have been able to send before it was cut off: 64 KiB that are read, and what the kernel holds in
/// between.
const TAKEN_BYTES: usize = 64 << 20;

/// What all of them together may cost in memory: nothing that they send is kept.
const MEMORY_KIB: u64 = 64 << 10;

fn request(url: &str, timeout: Duration) -> Request {
    let headers = vec![("webhook-id", "msg_1".to_owned()), ("X-Webhook-Event", "completed".to_owned())];
    Request { url: url.to_owned(), headers, custom: CustomHeaders::none(), body: BODY.into(), timeout }
}

fn dev() -> UreqTransport {
    UreqTransport::new(UreqSettings { guard: Guard::dev(), ..UreqSettings::default() })
}

/// What differs from what should have been recorded.
fn fault(animal: &Animal, outcome: &Outcome) -> Option<String> {
    let Animal { name, recorded, .. } = animal;
    let as_expected = match recorded {
        Recorded::Status(status, excerpt) => {
            outcome.result.as_ref().is_ok_and(|answer| answer.status == *status && answer.excerpt == *excerpt)
        }
        Recorded::Begun(status) => outcome.status_code() == Some(*status) && outcome.error().is_none(),
        Recorded::Failure(texts) => {
            outcome.status_code().is_none() && texts.iter().any(|text| outcome.error().as_deref() == Some(text))
        }
    };
    let in_time = outcome.duration_ms < BOUND_MS;
    (!as_expected || !in_time).then(|| format!("{name}: expected {recorded:?}, recorded {outcome:?}"))
}

#[test]
fn every_receiver_ends_as_it_should() {
    let transport = dev();
    let mut faults = Vec::new();
    for animal in animals::all() {
        let receiver = Receiver::start(animal.script.clone());
        let outcome = transport.send(&request(&receiver.url(), animal.timeout));
        faults.extend(fault(&animal, &outcome));
        let sent = receiver.sent.load(Ordering::SeqCst);
        if sent > TAKEN_BYTES {
            faults.push(format!("{}: {sent} bytes were taken", animal.name));
        }
        if receiver.connections.try_iter().count() != 1 {
            faults.push(format!("{}: more than one connection", animal.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(peak_memory_kib().is_none_or(|kib| kib < MEMORY_KIB), "{:?} KiB of memory", peak_memory_kib());
}

/// The most memory that this process has had, where the system tells (Linux). Measured: 6 MB.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Wherever a redirect points, also to an address that would be allowed.
#[test]
fn no_redirect_is_followed() {
    let target = Receiver::start(vec![]);
    let transport = dev();
    for status in 300..=308 {
        for location in [target.url(), format!("//127.0.0.1:{}/", target.port), "http://169.254.169.254/".into()] {
            let response = format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\ngone");
            let receiver = Receiver::start(vec![receiver::Step::Read, receiver::Step::Send(response.into())]);
            let outcome = transport.send(&request(&receiver.url(), LONG));
            assert_eq!(outcome.error(), Some(format!("HTTP {status}")), "{location}");
            assert_eq!(outcome.status_code(), Some(status));
        }
    }
    assert!(target.connections.try_recv().is_err(), "nobody came");
}

/// Text that a receiver chooses ends up in a record: it is clipped, escaped, and a failure's contains no URL.
#[test]
fn what_a_receiver_says_is_kept_short_and_harmless() {
    let hostile = format!("\u{1b}[2J\r\nSet-Cookie: a\u{7f}{}", "ß".repeat(4000));
    let response = format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{hostile}", hostile.len());
    let receiver = Receiver::start(vec![receiver::Step::Read, receiver::Step::Send(response.into())]);
    let outcome = dev().send(&request(&receiver.url(), LONG));
    assert_eq!(outcome.error().as_deref(), Some("HTTP 500"));
    let excerpt = outcome.result.unwrap().excerpt;
    assert!(excerpt.len() <= 1024 && excerpt.starts_with("\\u{1b}[2J\\r\\nSet-Cookie: a\\u{7f}ßß"), "{excerpt}");
    assert!(!excerpt.chars().any(char::is_control));
}
