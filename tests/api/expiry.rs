//! How long an answer is kept under an idempotency key: an engine on virtual time.

use std::sync::Arc;
use std::time::Duration;

use hookledger::domain::command::Command;
use hookledger::domain::id::JobId;
use hookledger::domain::job::JobSpec;
use hookledger::domain::time::Timestamp;
use hookledger::engine::{Asked, Engine, Input, Keep, Rendered, Settings, Ticket, When};
use hookledger::log::memory::MemoryLog;
use hookledger::log::{EventLog, Order};
use hookledger::views::Views;

const START: Timestamp = Timestamp::from_seconds(1_769_851_800);
const DAY: Duration = Duration::from_hours(24);

/// Steps that forget all that is over; more of them are a fault.
const STEPS: usize = 100;

fn open(log: &MemoryLog, now: Timestamp) -> Engine {
    let settings = Settings { retention: None, ..Settings::default() };
    Engine::open(Box::new(log.reopen()), settings, [7; 32], now).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

/// Day and `millis` after the start.
fn next_day(millis: i64) -> Timestamp {
    at(millis).plus(DAY)
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

/// Registers a job whose answer is so many bytes, kept under a key.
fn keeping(number: u32, job: &str, bytes: usize) -> Input {
    let spec = JobSpec { completion_window: "3650d".into(), ..JobSpec::default() };
    let command = Command::Register { id: JobId::new(job).unwrap(), spec };
    let body = job.bytes().cycle().take(bytes).collect::<Vec<_>>();
    let render = move |_: &_| Some(Rendered { status: 200, version: Some(1), body: body.clone() });
    let keep = Keep { key: key(number), request: [9; 32], render: Arc::new(render) };
    let asked = Asked { ticket: Ticket(u64::from(number)), when: When::Committed, keep: Some(keep) };
    Input { asked: Some(asked), ..Input::of(command) }
}

/// The beginning of what is kept under a key.
fn kept(log: &MemoryLog, number: u32, now: Timestamp) -> Option<(usize, u8)> {
    let reader = log.reader();
    let answer = Views::new(&*reader).kept_answer(&key(number), now).unwrap();
    answer.map(|answer| (answer.body.len(), answer.body[0]))
}

fn rows(log: &MemoryLog) -> usize {
    let reader = log.reader();
    [&b"k"[..], b"e"].map(|prefix| reader.rows(prefix, Order::Ascending, None, usize::MAX).unwrap().len()).iter().sum()
}

/// Steps at `now` until the engine asks for none. Gives how many it took.
fn settle(engine: &mut Engine, now: Timestamp) -> usize {
    (0..STEPS)
        .find(|_| {
            if engine.next_wake().is_none_or(|wake| wake > now) {
                return true;
            }
            engine.step(now, Vec::new(), 9).unwrap();
            false
        })
        .expect("the engine comes to rest")
}

#[test]
fn an_answer_is_kept_for_a_day_and_then_forgotten() {
    let log = MemoryLog::new();
    let mut engine = open(&log, at(0));
    engine.step(at(5), vec![keeping(1, "a", 10)], 9).unwrap();
    engine.step(at(9), vec![keeping(2, "b", 200_000)], 9).unwrap();
    assert_eq!(rows(&log), 1 + 4 + 2);
    assert_eq!(engine.next_wake(), Some(next_day(5)), "it wakes up to forget");
    let last = next_day(4);
    engine.step(last, Vec::new(), 9).unwrap();
    assert_eq!((kept(&log, 1, last), kept(&log, 2, last)), (Some((10, b'a')), Some((200_000, b'b'))));
    assert_eq!(kept(&log, 1, next_day(5)), None, "also when it was not forgotten yet");
    settle(&mut engine, next_day(5));
    assert_eq!((rows(&log), kept(&log, 2, next_day(5))), (4 + 1, Some((200_000, b'b'))));
    settle(&mut engine, next_day(9));
    assert_eq!(rows(&log), 0);
    assert_eq!(engine.next_wake(), Some(at(5).plus(Duration::from_hours(24 * 3650))), "the jobs' own");
}

#[test]
fn very_many_are_forgotten_in_several_steps() {
    let log = MemoryLog::new();
    let mut engine = open(&log, at(0));
    let all = (0..700).map(|n| keeping(n, &format!("j{n}"), 5)).collect();
    engine.step(at(0), all, 9).unwrap();
    assert!(settle(&mut engine, next_day(-1)) == 0 && rows(&log) == 1400);
    let steps = settle(&mut engine, next_day(0));
    assert!((3..=5).contains(&steps), "{steps}");
    assert_eq!(rows(&log), 0);
}

#[test]
fn what_ran_out_while_nothing_ran_is_forgotten_at_the_next_start() {
    let log = MemoryLog::new();
    open(&log, at(0)).step(at(0), vec![keeping(1, "a", 10)], 9).unwrap();
    assert_eq!(kept(&log, 1, next_day(-1)), Some((10, b'a')), "it outlives the engine");
    let mut engine = open(&log, next_day(0));
    settle(&mut engine, next_day(0));
    assert_eq!(rows(&log), 0);
}

/// The server was busy, or was not running, when the first answer ran out: the key is used again before that one was
/// forgotten.
#[test]
fn a_key_that_is_used_again_as_the_first_answer_is_forgotten_keeps_the_second() {
    for bytes in [(10, 10), (200_000, 10), (10, 200_000)] {
        let log = MemoryLog::new();
        open(&log, at(0)).step(at(0), vec![keeping(1, "a", bytes.0)], 9).unwrap();
        let now = next_day(1);
        let mut engine = open(&log, now);
        engine.step(now, vec![keeping(1, "b", bytes.1)], 9).unwrap();
        assert_eq!(kept(&log, 1, now), Some((bytes.1, b'b')), "{bytes:?}");
        settle(&mut engine, now);
        assert_eq!(kept(&log, 1, now), Some((bytes.1, b'b')), "{bytes:?}");
        let over = now.plus(DAY);
        assert_eq!(engine.next_wake(), Some(over), "it is forgotten in its turn");
        settle(&mut engine, over);
        assert_eq!(rows(&log), 0);
    }
}

/// As a step later, when the first answers are gone and the engine has not yet looked for the next ones.
#[test]
fn the_engine_wakes_for_an_answer_that_came_with_the_last_look() {
    let log = MemoryLog::new();
    let mut engine = open(&log, at(0));
    engine.step(at(0), vec![keeping(1, "a", 10)], 9).unwrap();
    let now = next_day(0);
    engine.step(now, Vec::new(), 9).unwrap();
    engine.step(now, vec![keeping(2, "b", 10)], 9).unwrap();
    settle(&mut engine, now);
    assert_eq!(engine.next_wake(), Some(now.plus(DAY)));
}

#[test]
fn a_clock_that_is_set_back_keeps_answers_longer_and_never_shorter() {
    let log = MemoryLog::new();
    let mut engine = open(&log, at(0));
    engine.step(at(0), vec![keeping(1, "a", 10)], 9).unwrap();
    let earlier = at(-3_600_000);
    engine.step(earlier, vec![keeping(2, "b", 10)], 9).unwrap();
    assert_eq!((kept(&log, 1, earlier), kept(&log, 2, earlier)), (Some((10, b'a')), Some((10, b'b'))));
    settle(&mut engine, earlier.plus(DAY));
    assert_eq!((kept(&log, 1, earlier.plus(DAY)), rows(&log)), (Some((10, b'a')), 2));
}

#[test]
fn an_answer_that_is_damaged_is_forgotten_and_written_over_like_any_other() {
    let log = MemoryLog::new();
    let mut engine = open(&log, at(0));
    engine.step(at(5), vec![keeping(1, "a", 10), keeping(2, "b", 10)], 9).unwrap();
    for number in [1, 2] {
        log.damage_row(&[&b"k"[..], &key(number), &[0]].concat(), |sealed| *sealed.last_mut().unwrap() ^= 1);
    }
    engine.step(at(6), vec![keeping(2, "c", 10)], 9).unwrap();
    assert_eq!(kept(&log, 2, at(6)), Some((10, b'c')));
    settle(&mut engine, next_day(6));
    assert_eq!(rows(&log), 0);
}
