//! What is damaged costs itself and nothing else: the engine goes on when one row, payload or secret can't be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use hookledger::domain::command::Command;
use hookledger::domain::id::{DeadLetterId, DeliveryId, JobId, SecretId};
use hookledger::domain::job::{JobSpec, Report, Status, WebhookStatus};
use hookledger::domain::rejection::Rejection;
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::Webhook;
use hookledger::engine::{Answer, Asked, Engine, Input, Settings, Step, Ticket, When};
use hookledger::log::memory::MemoryLog;
use hookledger::log::{Commit, EventLog, RowWrite};
use hookledger::views::Views;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn open(log: &MemoryLog, seconds: i64) -> Engine {
    let mut settings = Settings::default();
    settings.policy.max_attempts = 2;
    Engine::open(Box::new(log.reopen()), settings, [7; 32], at(seconds)).expect("the engine opens")
}

fn job(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

fn register(id: &str, secret: Option<SecretId>) -> Command {
    let webhook = Webhook { secret, ..Webhook::to("https://r.example/") };
    Command::Register { id: job(id), spec: JobSpec { webhook: Some(webhook), ..JobSpec::default() } }
}

fn complete(id: &str) -> Command {
    Command::Report { job: job(id), if_match: None, report: Report::of(Status::Completed), rotation: None }
}

fn ask(command: Command) -> Input {
    let asked = Asked { ticket: Ticket(1), when: When::Committed, keep: None };
    Input { asked: Some(asked), ..Input::of(command) }
}

/// Changes a row behind the engine's back, as damage would.
fn tamper(log: &MemoryLog, key: Vec<u8>, value: Option<Vec<u8>>) {
    let mut log = log.reopen();
    log.commit(&Commit::new(log.tail(), &[], &[RowWrite { key, value }])).unwrap();
}

fn status(log: &MemoryLog, id: &str) -> Option<WebhookStatus> {
    let reader = log.reader();
    Views::new(&*reader).job(&job(id)).unwrap().and_then(|job| job.latest).map(|latest| latest.status)
}

/// Registers and completes a job with no slot for its attempt. Gives the delivery.
fn waiting_delivery(log: &MemoryLog) -> DeliveryId {
    let mut engine = open(log, 0);
    engine.step(at(0), vec![ask(register("a", None)), ask(complete("a"))], 0).unwrap();
    let reader = log.reader();
    Views::new(&*reader).job(&job("a")).unwrap().unwrap().latest.unwrap().id
}

#[test]
fn a_delivery_whose_payload_is_gone_fails_and_becomes_a_dead_letter_while_others_are_made() {
    let log = MemoryLog::new();
    let delivery = waiting_delivery(&log);
    let key = [&b"p"[..], &delivery.0.to_be_bytes(), &[0]].concat();
    tamper(&log, key, None);
    let mut engine = open(&log, 1);
    let Step { attempts, .. } = engine.step(at(1), vec![ask(register("b", None)), ask(complete("b"))], 9).unwrap();
    assert_eq!(attempts.len(), 1, "the other one is made");
    for second in 1..10 {
        let step = engine.step(at(second), Vec::new(), 9).unwrap();
        assert!(step.attempts.is_empty());
    }
    assert_eq!(status(&log, "a"), Some(WebhookStatus::Failed));
    let reader = log.reader();
    let letter = Views::new(&*reader).dead_letter(DeadLetterId(1)).unwrap().unwrap();
    assert_eq!((letter.delivery, letter.attempts), (delivery, 2));
    assert_eq!(letter.error, "internal: what is to be sent could not be read; see the server's log");
}

#[test]
fn a_payload_of_which_a_part_is_gone_is_not_sent_in_part() {
    let log = MemoryLog::new();
    let metadata = (0..16).map(|n| (n.to_string(), "\u{1f600}".repeat(512))).collect();
    let webhook = Some(Webhook::to("https://r.example/"));
    let large = Command::Register { id: job("a"), spec: JobSpec { metadata, webhook, ..JobSpec::default() } };
    open(&log, 0).step(at(0), vec![ask(large), ask(complete("a"))], 0).unwrap();
    let reader = log.reader();
    let delivery = Views::new(&*reader).job(&job("a")).unwrap().unwrap().latest.unwrap().id;
    assert!(Views::new(&*reader).payload(delivery).unwrap().unwrap().len() > 90_000, "it takes two rows");
    tamper(&log, [&b"p"[..], &delivery.0.to_be_bytes(), &[1]].concat(), None);
    let error = Views::new(&*reader).payload(delivery).unwrap_err();
    assert!(error.to_string().contains("a part of it is missing"), "{error}");
    assert!(open(&log, 1).step(at(1), Vec::new(), 9).unwrap().attempts.is_empty());
}

#[test]
fn a_webhook_whose_secret_is_unknown_is_not_sent_unsigned() {
    let log = MemoryLog::new();
    let mut engine = open(&log, 0);
    let inputs = vec![ask(register("a", Some(SecretId(5)))), ask(complete("a"))];
    assert!(engine.step(at(0), inputs, 9).unwrap().attempts.is_empty());
    for second in 0..10 {
        assert!(engine.step(at(second), Vec::new(), 9).unwrap().attempts.is_empty());
    }
    assert_eq!(status(&log, "a"), Some(WebhookStatus::Failed));
}

#[test]
fn a_job_whose_row_can_not_be_read_refuses_what_is_about_it_and_nothing_else() {
    let log = MemoryLog::new();
    open(&log, 0).step(at(0), vec![ask(register("a", None)), ask(register("b", None))], 0).unwrap();
    tamper(&log, b"aa".to_vec(), Some(vec![0xff; 40]));
    // An active job's row is read at opening, and there is no going on without it.
    let refused = Engine::open(Box::new(log.reopen()), Settings::default(), [7; 32], at(1)).err().unwrap();
    assert!(refused.to_string().starts_with("the log is damaged at row aa"), "{refused}");

    let log = MemoryLog::new();
    open(&log, 0).step(at(0), vec![ask(register("a", None)), ask(complete("a"))], 0).unwrap();
    tamper(&log, b"ja".to_vec(), Some(vec![0xff; 40]));
    let mut engine = open(&log, 1);
    let step = engine.step(at(1), vec![ask(complete("a")), ask(register("b", None))], 9).unwrap();
    assert!(matches!(&step.replies[0].1, Err(Rejection::Unreadable { why }) if why.contains("row ja")));
    assert!(matches!(&step.replies[1].1, Ok(Answer::Job(job)) if job.id.as_str() == "b"));
    assert!(step.attempts.is_empty(), "the delivery of a job that can't be read is not made");
    engine.step(at(9), vec![ask(complete("b"))], 9).unwrap();
    assert_eq!(status(&log, "b"), Some(WebhookStatus::Pending));
}
