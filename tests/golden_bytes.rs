//! Bytes on disk are public: one example of everything that is stored, minimal and fully populated, as hexadecimal.
//!
//! A snapshot that changes here is a format that changes: logs that were written with the old one would no longer be read.
//! New variants and fields are appended, under a new version, and their examples beside the old ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::time::Duration;

use hookledger::domain::delivery::{Attempt, AttemptEnd, DeadLetter, Delivery, DeliveryState};
use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{DeadLetterId, DeliveryId, JobId, SecretId, Seq};
use hookledger::domain::job::{
    ExpiresAfter, Job, JobError, JobSpec, LatestDelivery, Milestones, Report, RequestCounts, Signing, Status,
    WebhookStatus,
};
use hookledger::domain::options::WebhookOptions;
use hookledger::domain::state::{Base, Policy, State, Totals};
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::{Destination, EventKind, Format, Webhook};
use hookledger::log::memory::MemoryLog;
use hookledger::log::{Commit, EventLog, Pruning, codec};
use hookledger::views;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// How many variants [`Event`] has; see [`place`].
const EVENTS: u8 = 16;

/// The variant's number on disk. A new variant does not compile without a number here, and has no number without an
/// example below.
const fn place(event: &Event) -> u8 {
    match event {
        Event::JobRegistered { .. } => 0,
        Event::JobTransitioned { .. } => 1,
        Event::ProgressReported { .. } => 2,
        Event::DeliveryScheduled { .. } => 3,
        Event::AttemptStarted { .. } => 4,
        Event::AttemptSucceeded { .. } => 5,
        Event::AttemptFailed { .. } => 6,
        Event::AttemptInterrupted { .. } => 7,
        Event::DeliveryExhausted { .. } => 8,
        Event::DeliverySuperseded { .. } => 9,
        Event::RedeliveryRequested { .. } => 10,
        Event::DeadLetterDeleted { .. } => 11,
        Event::WebhookConfigured { .. } => 12,
        Event::SecretRotated { .. } => 13,
        Event::JobPruned => 14,
        Event::PayloadsErased { .. } => 15,
    }
}

const AT: Timestamp = Timestamp::from_millis(1_769_851_800_250);
const DELIVERY: DeliveryId = DeliveryId(0x019c_1234_5678_9abc_def0_1234_5678_9abc);
const LETTER: DeadLetterId = DeadLetterId(300);

fn job_id() -> JobId {
    JobId::new("batch_1-Z").unwrap()
}

fn later(seconds: u64) -> Timestamp {
    AT.plus(Duration::from_secs(seconds))
}

fn webhook() -> Webhook {
    Webhook {
        url: "https://r.example/hook?x=1".into(),
        secret: Some(SecretId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)),
        max_retries: Some(10),
        timeout: Some(300),
        events: Some(EventKind::ALL.to_vec()),
        format: Format::Event,
    }
}

fn options() -> WebhookOptions {
    WebhookOptions {
        headers: Some(SecretId(0xffee_ddcc_bbaa_9988_7766_5544_3322_1100)),
        rate_limit: Some(1_000),
        retry_schedule: Some(vec![1, 300, 604_800]),
    }
}

fn job_error() -> JobError {
    let text = |text: &str| Some(text.to_owned());
    JobError { code: text("bad"), line: Some(-7), message: text("Zeile kaputt: ß"), param: text("messages") }
}

fn report() -> Report {
    Report {
        status: Some(Status::Finalizing),
        total: Some(100_000),
        completed: Some(300),
        failed: Some(2),
        output_file_id: Some("file-out".into()),
        error_file_id: Some("file-err".into()),
        errors: Some(vec![job_error(), JobError::default()]),
    }
}

fn spec() -> JobSpec {
    JobSpec {
        input_file_id: Some("file-in".into()),
        endpoint: "/v1/embeddings".into(),
        completion_window: "7d".into(),
        metadata: BTreeMap::from([("customer".into(), "42".into()), ("größe".into(), String::new())]),
        output_expires_after: Some(ExpiresAfter { anchor: "created_at".into(), seconds: 3600 }),
        priority: -1,
        total: 70_000,
        webhook: Some(webhook()),
        options: WebhookOptions::default(),
        report: report(),
    }
}

fn end() -> AttemptEnd {
    AttemptEnd {
        duration_ms: 70_000,
        status_code: Some(503),
        error: Some("HTTP 503".into()),
        excerpt: Some("try later".into()),
    }
}

fn destination() -> Destination {
    Destination::Webhook(job_id())
}

/// Every event, fully populated.
fn full_events() -> Vec<Event> {
    let (delivery, dead_letter, attempt) = (DELIVERY, LETTER, 300);
    let (max_attempts, timeout, kind) = (10, 300, EventKind::Expired);
    vec![
        Event::JobRegistered { spec: spec(), expires_at: later(604_800) },
        Event::JobTransitioned { report: report() },
        Event::ProgressReported { report: Report { status: None, ..report() } },
        Event::DeliveryScheduled { delivery, destination: destination(), kind, max_attempts, timeout },
        Event::AttemptStarted { delivery, attempt },
        Event::AttemptSucceeded { delivery, attempt, end: end() },
        Event::AttemptFailed { delivery, attempt, end: end(), retry_at: Some(later(4)) },
        Event::AttemptInterrupted { delivery, attempt, crashed: true },
        Event::DeliveryExhausted { delivery, dead_letter },
        Event::DeliverySuperseded { delivery },
        Event::RedeliveryRequested { delivery, forced: true },
        Event::DeadLetterDeleted { delivery, dead_letter },
        Event::WebhookConfigured { options: options() },
        Event::SecretRotated { secret: SecretId(1 << 100), former_until: later(86_400) },
        Event::JobPruned,
        Event::PayloadsErased { deliveries: 300 },
    ]
}

/// Every event with as little in it as can be.
fn minimal_events() -> Vec<Event> {
    let (delivery, dead_letter, attempt) = (DeliveryId(0), DeadLetterId(0), 0);
    let destination = Destination::Webhook(JobId::new("j").unwrap());
    let spec = JobSpec { endpoint: String::new(), completion_window: String::new(), ..JobSpec::default() };
    let end = AttemptEnd::default();
    vec![
        Event::JobRegistered { spec, expires_at: Timestamp::default() },
        Event::JobTransitioned { report: Report::of(Status::Validating) },
        Event::ProgressReported { report: Report::default() },
        Event::DeliveryScheduled { delivery, destination, kind: EventKind::Completed, max_attempts: 0, timeout: 0 },
        Event::AttemptStarted { delivery, attempt },
        Event::AttemptSucceeded { delivery, attempt, end: end.clone() },
        Event::AttemptFailed { delivery, attempt, end, retry_at: None },
        Event::AttemptInterrupted { delivery, attempt, crashed: true },
        Event::DeliveryExhausted { delivery, dead_letter },
        Event::DeliverySuperseded { delivery },
        Event::RedeliveryRequested { delivery, forced: false },
        Event::DeadLetterDeleted { delivery, dead_letter },
        Event::WebhookConfigured { options: WebhookOptions::default() },
        Event::SecretRotated { secret: SecretId(0), former_until: Timestamp::default() },
        Event::JobPruned,
        Event::PayloadsErased { deliveries: 0 },
    ]
}

fn full(event: Event) -> Envelope {
    Envelope { seq: Seq(9), at: AT, job: job_id(), prev: Seq(70_000), event }
}

fn minimal(event: Event) -> Envelope {
    let job = JobId::new("j").unwrap();
    Envelope { seq: Seq(9), at: Timestamp::default(), job, prev: Seq::ZERO, event }
}

fn job() -> Job {
    let latest = LatestDelivery {
        id: DELIVERY,
        status: WebhookStatus::Failed,
        attempts: 3,
        error: Some("HTTP 500".into()),
        last_attempt_at: Some(later(3)),
    };
    let times = Milestones {
        created_at: AT,
        expires_at: later(86_400),
        in_progress_at: Some(later(1)),
        finalizing_at: Some(later(2)),
        completed_at: Some(later(3)),
        failed_at: Some(later(4)),
        expired_at: Some(later(5)),
        cancelling_at: Some(later(6)),
        cancelled_at: Some(later(7)),
    };
    Job {
        id: job_id(),
        spec: JobSpec { options: options(), ..spec() },
        signing: Some(Signing { secret: SecretId(1 << 100), former: Some(SecretId(7)), former_until: later(86_400) }),
        status: Status::Cancelled,
        counts: RequestCounts { total: 100_000, completed: 300, failed: 2 },
        output_file_id: Some("file-out".into()),
        error_file_id: Some("file-err".into()),
        errors: vec![job_error()],
        times,
        version: 300,
        registered: Seq(7),
        head: Seq(70_000),
        touched: later(70),
        latest: Some(latest),
        active: 300,
        erased: Seq(70_000),
        progress: Some(DELIVERY),
    }
}

fn new_job() -> Job {
    let (id, at) = (JobId::new("j").unwrap(), Timestamp::default());
    Job::registered(id, JobSpec::default(), at, at, Seq(1))
}

fn delivery(state: DeliveryState) -> Delivery {
    let ended = Attempt { number: 299, started_at: AT, interruptions: 0, end: Some(end()) };
    let under_way = Attempt { number: 300, started_at: later(9), interruptions: 2, end: None };
    Delivery {
        id: DELIVERY,
        job: job_id(),
        destination: destination(),
        kind: EventKind::Progress,
        url: webhook().url,
        created_at: AT,
        scheduled: Seq(70_000),
        max_attempts: 300,
        timeout: 30,
        rate_limit: Some(1_000),
        state,
        attempts: vec![ended, under_way],
        delivered_at: Some(later(2)),
        dead_letter: Some(LETTER),
        previous: Some(DeliveryId(1 << 100)),
    }
}

fn new_delivery() -> Delivery {
    let state = DeliveryState::Pending { due: AT };
    Delivery {
        attempts: Vec::new(),
        delivered_at: None,
        dead_letter: None,
        rate_limit: None,
        previous: None,
        ..delivery(state)
    }
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        id: LETTER,
        delivery: DELIVERY,
        job: job_id(),
        url: webhook().url,
        kind: EventKind::Cancelled,
        error: "timeout: after 30 s".into(),
        attempts: 10,
        last_attempt_at: later(9),
        created_at: later(10),
        retried_at: Some(later(60)),
        retry_success: Some(false),
    }
}

fn new_dead_letter() -> DeadLetter {
    DeadLetter { retried_at: None, retry_success: None, ..dead_letter() }
}

const fn totals() -> Totals {
    Totals { last_dead_letter: 300, dead_letters: 2, jobs: [1, 0, 0, 70_000, 0, 0, 0, 9] }
}

/// A name, and below it bytes in lines of 40.
fn hex(out: &mut String, name: &str, bytes: &[u8]) {
    writeln!(out, "{name}: {} bytes", bytes.len()).unwrap();
    for line in bytes.chunks(40) {
        out.push_str("  ");
        for byte in line {
            write!(out, "{byte:02x}").unwrap();
        }
        out.push('\n');
    }
}

/// Adds the bytes of a value that decodes back to itself.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(out: &mut String, name: &str, value: &T) {
    let bytes = codec::encode(value);
    assert_eq!(codec::decode::<T>(&bytes).unwrap(), *value);
    let longer = [&bytes[..], &[0]].concat();
    assert!(codec::decode::<T>(&longer).is_err(), "{name}: what is left over is an error");
    if let Some(shorter) = bytes.split_last().map(|(_, shorter)| shorter) {
        assert!(codec::decode::<T>(shorter).is_err(), "{name}: what is missing is an error");
    }
    hex(out, name, &bytes);
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn snapshot(name: &str, text: &str) {
    settings().bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn events() {
    let mut out = String::new();
    let examples = full_events().into_iter().zip(minimal_events());
    let mut seen = BTreeSet::new();
    for (full_event, minimal_event) in examples {
        let (number, name) = (place(&minimal_event), minimal_event.name());
        assert_eq!(place(&full_event), number);
        seen.insert(number);
        for (size, envelope) in [("full", full(full_event)), ("minimal", minimal(minimal_event))] {
            let bytes = codec::encode_event(&envelope);
            assert_eq!(codec::decode_event(Seq(9), &bytes).unwrap(), (envelope, &[][..]));
            hex(&mut out, &format!("{name}, {size}"), &bytes);
            if size == "minimal" {
                // The time, the job's id with its length and the previous position come first.
                assert_eq!(bytes[..5], [0, 1, b'j', 0, number], "{name} is variant {number}");
            }
        }
    }
    assert_eq!(seen, (0..EVENTS).collect(), "every event has its examples");
    snapshot("golden_events", &out);
}

#[test]
fn rows() {
    let mut out = String::new();
    golden(&mut out, "job, full", &job());
    golden(&mut out, "job, minimal", &new_job());
    golden(&mut out, "delivery, full", &delivery(DeliveryState::InFlight));
    golden(&mut out, "delivery, minimal", &new_delivery());
    golden(&mut out, "dead letter, full", &dead_letter());
    golden(&mut out, "dead letter, minimal", &new_dead_letter());
    golden(&mut out, "totals", &totals());
    snapshot("golden_rows", &out);
}

/// Where each row stands, for everything that there can be one of.
#[test]
fn keys() {
    let mut state = State::new(Policy::default());
    state.bring_job(job());
    state.bring_job(new_job());
    state.bring_delivery(delivery(DeliveryState::Dead));
    state.bring_delivery(Delivery { id: DeliveryId(1), scheduled: Seq(70_001), ..new_delivery() });
    state.bring_dead_letter(dead_letter());
    state.bring_totals(totals());
    let mut out = String::new();
    let payload = views::payload(DELIVERY, &vec![b'x'; 60 * 1024 + 1]);
    let payload = payload.into_iter().map(|row| (row.key, row.value.unwrap()));
    for (key, value) in views::all_rows(&state).into_iter().chain(payload) {
        writeln!(out, "{}: {} bytes", key.escape_ascii(), value.len()).unwrap();
        assert!(views::DERIVED.iter().any(|prefix| key.starts_with(prefix)) || key.starts_with(b"p"));
    }
    snapshot("golden_keys", &out);
}

/// The numbers of the variants inside of events and rows.
#[test]
fn variants() {
    let mut out = String::new();
    for status in Status::ALL {
        golden(&mut out, &format!("status {status}"), &status);
    }
    for kind in EventKind::ALL {
        golden(&mut out, &format!("kind {kind}"), &kind);
    }
    for format in [Format::Batch, Format::Event] {
        let name = match format {
            Format::Batch => "batch",
            Format::Event => "event",
        };
        golden(&mut out, &format!("format {name}"), &format);
    }
    for status in [WebhookStatus::Pending, WebhookStatus::Sent, WebhookStatus::Failed] {
        let name = match status {
            WebhookStatus::Pending => "pending",
            WebhookStatus::Sent => "sent",
            WebhookStatus::Failed => "failed",
        };
        golden(&mut out, &format!("webhook status {name}"), &status);
    }
    let pending = DeliveryState::Pending { due: AT };
    let (in_flight, delivered) = (DeliveryState::InFlight, DeliveryState::Delivered);
    for state in [pending, in_flight, delivered, DeliveryState::Dead, DeliveryState::Superseded] {
        match state {
            DeliveryState::Pending { .. }
            | DeliveryState::InFlight
            | DeliveryState::Delivered
            | DeliveryState::Dead
            | DeliveryState::Superseded => {
                golden(&mut out, &format!("delivery state {}", state.status().as_str()), &state);
            }
        }
    }
    let Destination::Webhook(_) = destination();
    golden(&mut out, "destination webhook", &destination());
    snapshot("golden_variants", &out);
}

/// What is around a body: version, checksum over key, version and body.
#[test]
fn seals() {
    let mut out = String::new();
    for (key, body) in [(&b"rk"[..], &b"body"[..]), (b"rk", b""), (b"rl", b"body")] {
        let sealed = codec::seal(key, 1, body);
        assert_eq!(codec::unseal(key, 1, &sealed).unwrap(), (1, body));
        assert_eq!(sealed[0], 1);
        hex(&mut out, &format!("{:?} under {:?}", body.escape_ascii(), key.escape_ascii()).replace('"', ""), &sealed);
    }
    assert!(codec::unseal(b"rl", 1, &codec::seal(b"rk", 1, b"body")).is_err(), "it stands at another place");
    for length in 0..5 {
        assert!(codec::unseal(b"rk", 1, &codec::seal(b"rk", 1, b"")[..length]).is_err());
    }
    for (version, newest) in [(0, 1), (2, 1), (3, 2), (u8::MAX, 2)] {
        let newer = codec::unseal(b"rk", newest, &codec::seal(b"rk", version, b"")).unwrap_err();
        assert_eq!(newer, codec::Unreadable::Newer(version));
    }
    snapshot("golden_seals", &out);
}

/// Commits of two events and of one as they are stored, each one record; the first record given up, its second event
/// carried.
#[test]
fn frames() {
    let mut log = MemoryLog::new();
    let event = |seq, prev| {
        let event = Event::DeliverySuperseded { delivery: DeliveryId(seq) };
        Envelope { seq: Seq(u64::try_from(seq).unwrap()), prev: Seq(prev), ..minimal(event) }
    };
    let [first, second, third] = [event(1, 0), event(2, 1), event(3, 2)];
    log.commit(&Commit::new(Seq(0), &[first.clone(), second.clone()], &[])).unwrap();
    log.commit(&Commit::new(Seq(2), std::slice::from_ref(&third), &[])).unwrap();
    let mut out = String::new();
    let mut add = |name: &str, key: &[u8]| {
        let (found, sealed) = log.reader().records(key, None, 1).unwrap().pop().unwrap();
        assert_eq!(found, key);
        hex(&mut out, &format!("{name} under {}", key.escape_ascii()), &sealed);
        sealed
    };
    let body = [&[0; 32], &[2][..], &codec::encode_event(&first), &codec::encode_event(&second)].concat();
    let key = b"f\0\0\0\0\0\0\0\x02";
    assert_eq!(add("two events", key), codec::seal(key, 2, &body), "under the position of its last event");
    let hash = Sha256::new().chain_update(key).chain_update([2]).chain_update(&body).finalize();
    let body = [&hash[..], &[1], &codec::encode_event(&third)].concat();
    let key = b"f\0\0\0\0\0\0\0\x03";
    assert_eq!(add("one event", key), codec::seal(key, 2, &body), "it names the one before it");

    let base = Base { last_dead_letter: 300 };
    let pruning = Pruning { horizon: Seq(2), carry: vec![second.clone()], drop: Vec::new(), base };
    log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(3), &[], &[]) }).unwrap();
    let mut add = |name: &str, key: &[u8]| {
        let (found, sealed) = log.reader().records(key, None, 1).unwrap().pop().unwrap();
        assert_eq!(found, key);
        hex(&mut out, &format!("{name} under {}", key.escape_ascii()), &sealed);
        sealed
    };
    let key = b"cj\0\0\0\0\0\0\0\0\x02";
    assert_eq!(add("a carried event", key), codec::seal(key, 1, &codec::encode_event(&second)));
    let body = [&[2][..], &hash[..], &[251, 44, 1]].concat();
    assert_eq!(add("the anchor", b"h"), codec::seal(b"h", 1, &body), "the horizon, the hash, the base");
    snapshot("golden_frames", &out);
}

/// Version 1 of the first of these, as it was written before records named the one before them.
#[test]
fn frame_of_version_1() {
    let bytes = "016e19d4250200016a00090100016a000902";
    let byte = |at: usize| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap();
    let sealed: Vec<u8> = (0..bytes.len()).step_by(2).map(byte).collect();
    let frame = codec::open_frame(b"f\0\0\0\0\0\0\0\x02", &sealed).unwrap();
    let event = |seq| {
        let event = Event::DeliverySuperseded { delivery: DeliveryId(u128::from(seq)) };
        Envelope { seq: Seq(seq), ..minimal(event) }
    };
    assert_eq!((frame.first(), frame.last, frame.previous), (Seq(1), Seq(2), None));
    assert_eq!(frame.events, [event(1), event(2)]);
}
