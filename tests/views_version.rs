//! Rows of another version's form are made anew when a store is opened, and whatever interrupts that is made up for by the
//! next opening.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use hookledger::domain::command::Command;
use hookledger::domain::delivery::DeliveryStatus;
use hookledger::domain::id::{DeadLetterId, JobId, Seq};
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::Webhook;
use hookledger::engine::replay::{differences, rebuild};
use hookledger::engine::{Asked, Engine, Input, Keep, Rendered, Settings, Ticket, When};
use hookledger::log::chain::Head;
use hookledger::log::memory::{Fault, MemoryLog};
use hookledger::log::sled::SledLog;
use hookledger::log::{Commit, EventLog, LogError, LogReader, Order, RowWrite};
use hookledger::schedule::Pacing;
use hookledger::views::{self, DeliveryFilter, LetterFilter, Views};

const START: Timestamp = Timestamp::from_seconds(1_769_851_800);
const VERSION_ROW: &[u8] = b"m/views";

/// Jobs in a store: their rows take more than one commit.
const JOBS: usize = 1500;

fn open(log: &MemoryLog) -> Engine {
    try_open(Box::new(log.reopen())).unwrap()
}

fn try_open(log: Box<dyn EventLog>) -> Result<Engine, hookledger::engine::EngineError> {
    let pacing = Pacing { slots: 10_000, failures: None, ..Pacing::default() };
    let mut settings = Settings { pacing, ..Settings::default() };
    settings.policy.max_attempts = 1;
    Engine::open(log, settings, [7; 32], START)
}

fn command(command: Command) -> Input {
    let asked = Asked { ticket: Ticket(0), when: When::Committed, keep: None };
    Input { asked: Some(asked), ..Input::of(command) }
}

fn answered(attempt: &hookledger::attempt::Attempt, status: u16) -> Input {
    let response = Response { status, excerpt: String::new(), retry_after: None };
    let outcome = Outcome { duration_ms: 1, result: Ok(response) };
    Input::of(Command::RecordOutcome { delivery: attempt.delivery, attempt: attempt.number, outcome })
}

/// A store with deliveries of every end, dead letters, one of them deleted, and an answer under an idempotency key.
fn fill(engine: &mut Engine, jobs: usize) {
    let register = |n: usize| {
        let status = [Some(Status::Completed), Some(Status::Failed), None][n % 3];
        let webhook = (n % 5 < 4).then(|| Webhook::to(format!("https://r{}.example/", n % 2)));
        let report = Report { status, ..Report::default() };
        let id = JobId::new(&format!("j{n}")).unwrap();
        command(Command::Register { id, spec: JobSpec { webhook, report, ..JobSpec::default() } })
    };
    let mut inputs: Vec<Input> = (0..jobs).map(register).collect();
    let render = |_: &_| Some(Rendered { status: 200, version: None, body: b"kept".to_vec() });
    inputs[0].asked.as_mut().unwrap().keep = Some(Keep { key: [1; 32], request: [2; 32], render: Arc::new(render) });
    let step = engine.step(START, inputs, jobs / 3).unwrap();
    assert!(step.attempts.len() > 9);
    let ends = step.attempts.iter().zip([200, 500, 410].into_iter().cycle());
    let ends = ends.map(|(attempt, status)| answered(attempt, status)).collect();
    let step = engine.step(START, ends, 3).unwrap();
    assert_eq!(step.attempts.len(), 3, "some are in flight");
    let delete = Command::DeleteDeadLetter { id: DeadLetterId(2) };
    engine.step(START, vec![command(delete)], 0).unwrap();
}

fn store(jobs: usize) -> MemoryLog {
    let log = MemoryLog::new();
    fill(&mut open(&log), jobs);
    // What an opening finds in flight, it records as interrupted: once, so that those below change nothing.
    drop(open(&log));
    log
}

fn write(log: &mut dyn EventLog, rows: Damage) {
    let rows: Vec<RowWrite> = rows.into_iter().map(|(key, value)| RowWrite { key, value }).collect();
    let tail = log.tail();
    log.commit(&Commit::new(tail, &[], &rows)).unwrap();
}

/// Every row there is.
fn rows(reader: &dyn LogReader) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (b'a'..=b'z').flat_map(|letter| reader.rows(&[letter], Order::Ascending, None, usize::MAX).unwrap()).collect()
}

#[track_caller]
fn check(reader: &dyn LogReader) {
    let views = Views::new(reader);
    assert!(views.are_current().unwrap());
    let state = rebuild(reader, reader.tail()).unwrap();
    let different = differences(&state, reader).unwrap();
    assert!(different.is_empty(), "{} rows differ", different.len());
    for status in Status::ALL {
        let expected = state.jobs().filter(|job| job.status == status).count();
        assert_eq!(views.jobs(Some(status), None, usize::MAX).unwrap().len(), expected, "{status}");
    }
    for status in DeliveryStatus::ALL {
        let expected = state.deliveries().filter(|delivery| delivery.state.status() == status).count();
        let filter = DeliveryFilter { status: Some(status), ..DeliveryFilter::default() };
        assert_eq!(views.deliveries(&filter, None, usize::MAX).unwrap().len(), expected, "{status:?}");
    }
    let letters = views.letter_page(&LetterFilter::default(), 0, usize::MAX).unwrap();
    assert_eq!(letters.total, state.dead_letters().count() as u64);
    assert_eq!(views.jobs(None, None, usize::MAX).unwrap().len(), state.jobs().count());
}

/// Rows to be written or, where there is no value, removed.
type Damage = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Ways in which the rows of an older form may differ, or in which a rebuild may have been left.
fn damages(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<(&'static str, Damage)> {
    let derived = |key: &Vec<u8>| views::DERIVED.iter().any(|prefix| key.starts_with(prefix));
    let gone = |wanted: &dyn Fn(&Vec<u8>) -> bool| -> Vec<_> {
        rows.keys().filter(|key| wanted(key)).map(|key| (key.clone(), None)).collect()
    };
    let mut every = 0;
    let third = |key: &Vec<u8>| {
        every += 1;
        every % 3 == 0 && derived(key)
    };
    let third = std::cell::RefCell::new(third);
    vec![
        ("nothing is there", gone(&derived)),
        ("there is no index", gone(&|key| key.starts_with(b"i"))),
        ("a part is gone", gone(&|key| third.borrow_mut()(key))),
        (
            "a part is of another form",
            rows.iter()
                .filter(|(key, _)| derived(key))
                .step_by(7)
                .map(|(key, _)| (key.clone(), Some(vec![0xff; 9])))
                .collect(),
        ),
        (
            "there is too much",
            (0..1500_u32)
                .map(|n| (n, *b"adijlqtx".iter().cycle().nth(n as usize).unwrap()))
                .map(|(n, prefix)| ([&[prefix][..], b"\xf0", &n.to_be_bytes()].concat(), Some(vec![1])))
                .collect(),
        ),
    ]
}

#[test]
fn rows_of_an_older_form_are_made_anew_at_opening() {
    let pristine = rows(&*store(60).reader());
    for (what, damage) in damages(&pristine) {
        for version in [None, Some(vec![]), Some(vec![views::VERSION - 1]), Some(vec![views::VERSION, 0])] {
            let log = store(60);
            let mut writes = damage.clone();
            writes.push((VERSION_ROW.to_vec(), version.clone()));
            write(&mut log.reopen(), writes);
            let reader = log.reader();
            assert!(!Views::new(&*reader).are_current().unwrap());
            let tail = reader.tail();
            drop(open(&log));
            check(&*reader);
            assert_eq!((rows(&*reader) == pristine, reader.tail()), (true, tail), "{what}, {version:?}");
        }
    }
}

#[test]
fn what_is_not_derived_from_events_stays() {
    let log = store(60);
    let before = rows(&*log.reader());
    let others = |rows: &BTreeMap<Vec<u8>, Vec<u8>>| -> Vec<_> {
        rows.clone().into_iter().filter(|(key, _)| matches!(key[0], b'p' | b'k' | b'e' | b's')).collect()
    };
    assert!(others(&before).len() > 20, "payloads, and what is kept under a key");
    write(&mut log.reopen(), vec![(VERSION_ROW.to_vec(), None)]);
    drop(open(&log));
    assert_eq!(others(&rows(&*log.reader())), others(&before));
    let reader = log.reader();
    let kept = Views::new(&*reader).kept_answer(&[1; 32], START).unwrap().unwrap();
    assert_eq!(kept.body, b"kept");
}

#[test]
fn a_store_that_is_current_is_left_alone() {
    let log = store(60);
    let key = [&b"j"[..], b"surplus"].concat();
    write(&mut log.reopen(), vec![(key.clone(), Some(vec![1]))]);
    drop(open(&log));
    assert!(rows(&*log.reader()).contains_key(&key), "opening does not look through all rows");
    let empty = MemoryLog::new();
    drop(open(&empty));
    check(&*empty.reader());
}

/// A log of which the commit of that number fails.
struct Failing {
    log: MemoryLog,
    left: usize,
    fault: Fault,
}

impl EventLog for Failing {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        if self.left == 0 {
            self.log.fail_next_commit(self.fault);
        }
        self.left = self.left.wrapping_sub(1);
        self.log.commit(commit)
    }

    fn head(&self) -> Head {
        self.log.head()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}

#[test]
fn the_next_opening_completes_what_was_interrupted() {
    let pristine = rows(&*store(JOBS).reader());
    let mut most = 0;
    for (what, damage) in damages(&pristine).into_iter().filter(|(what, _)| !what.contains("part")) {
        for fault in [Fault::Lost, Fault::Stored] {
            let log = store(JOBS);
            let mut writes = damage.clone();
            writes.push((VERSION_ROW.to_vec(), None));
            write(&mut log.reopen(), writes);
            // Each opening comes one commit further than the one before, and begins again.
            for left in 0.. {
                let opened = try_open(Box::new(Failing { log: log.reopen(), left, fault }));
                let reader = log.reader();
                if opened.is_ok() {
                    most = most.max(left);
                    check(&*reader);
                    assert!(rows(&*reader) == pristine, "{what}, {fault:?}");
                    break;
                }
                if Views::new(&*reader).are_current().unwrap() {
                    check(&*reader);
                }
            }
        }
    }
    assert!(most > 3, "{most} commits");
}

#[test]
fn it_is_the_same_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = try_open(Box::new(SledLog::open(directory.path()).unwrap())).unwrap();
    fill(&mut engine, 60);
    drop(engine);
    drop(try_open(Box::new(SledLog::open(directory.path()).unwrap())).unwrap());
    let mut log = SledLog::open(directory.path()).unwrap();
    let pristine = rows(&*log.reader());
    let (_, mut writes) = damages(&pristine).swap_remove(1);
    writes.push((VERSION_ROW.to_vec(), None));
    write(&mut log, writes);
    drop(log);
    drop(try_open(Box::new(SledLog::open(directory.path()).unwrap())).unwrap());
    let log = SledLog::open(directory.path()).unwrap();
    check(&*log.reader());
    assert!(rows(&*log.reader()) == pristine);
}
