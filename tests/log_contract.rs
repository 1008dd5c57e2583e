//! The contract of a log, as `src/log.rs` numbers it, held against every implementation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{JobId, Seq};
use hookledger::domain::job::Report;
use hookledger::domain::state::Base;
use hookledger::domain::time::Timestamp;
use hookledger::log::chain::{self, Hash, Head};
use hookledger::log::memory::{Fault, MemoryLog};
use hookledger::log::sled::SledLog;
use hookledger::log::{Anchor, Commit, EventLog, LogError, LogReader, MAX_VALUE, Order, Pruning, Row, RowWrite, codec};
use proptest::prelude::*;
use tempfile::TempDir;

/// Where a log is kept, whoever has it open.
trait Place {
    fn new() -> Self;
    fn open(&self) -> Box<dyn EventLog>;
}

struct Memory(MemoryLog);

impl Place for Memory {
    fn new() -> Self {
        Self(MemoryLog::new())
    }

    fn open(&self) -> Box<dyn EventLog> {
        Box::new(self.0.reopen())
    }
}

struct Disk(TempDir);

impl Place for Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Box<dyn EventLog> {
        Box::new(SledLog::open(self.0.path()).unwrap())
    }
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $promise() { super::$promise(&<super::Memory as super::Place>::new()); })*
        }
        mod disk {
            $(#[test] fn $promise() { super::$promise(&<super::Disk as super::Place>::new()); })*
        }
    };
}

contract!(
    an_empty_log_ends_before_the_first_position,
    positions_are_dense_however_they_were_committed,
    what_is_not_dense_is_a_fault_and_stores_nothing,
    any_part_of_the_log_can_be_read,
    beyond_the_end_there_is_nothing,
    events_and_rows_are_committed_together,
    rows_may_change_without_events,
    keys_are_listed_without_what_stands_under_them,
    neighbours_are_the_events_of_one_commit,
    a_row_has_what_was_written_last,
    a_commit_that_does_not_follow_the_end_is_refused_and_stores_nothing,
    a_value_that_is_too_large_is_refused_and_stores_nothing,
    the_largest_values_are_kept,
    a_commit_may_be_larger_than_a_record,
    readers_follow_whatever_thread_they_are_on,
    opening_anew_finds_everything,
    every_record_names_the_one_before_it,
    records_are_given_as_they_are_stored,
    the_beginning_can_be_given_up,
    what_is_carried_can_go_later,
    all_of_it_can_be_given_up,
    a_commit_that_is_refused_gives_up_nothing,
    only_whole_records_are_given_up,
    readers_meet_what_is_given_up_as_such,
);

/// Three jobs take turns. Their ids begin with one another.
fn job(seq: u64) -> JobId {
    JobId::new(["jjj", "j", "jj"][usize::try_from(seq % 3).unwrap()]).unwrap()
}

/// An event of about `bytes` bytes.
fn event(seq: u64, bytes: usize) -> Envelope {
    let report = Report { output_file_id: Some("x".repeat(bytes)), ..Report::default() };
    let at = Timestamp::from_seconds(i64::try_from(seq).unwrap());
    Envelope { seq: Seq(seq), at, job: job(seq), prev: Seq::ZERO, event: Event::ProgressReported { report } }
}

fn events(seqs: impl IntoIterator<Item = u64>) -> Vec<Envelope> {
    seqs.into_iter().map(|seq| event(seq, 10)).collect()
}

fn put(key: &[u8], value: &[u8]) -> RowWrite {
    RowWrite { key: key.to_vec(), value: Some(value.to_vec()) }
}

fn remove(key: &[u8]) -> RowWrite {
    RowWrite { key: key.to_vec(), value: None }
}

/// Three events in two commits, and a row.
fn fill(log: &mut dyn EventLog) {
    log.commit(&Commit::new(Seq(0), &events([1]), &[put(b"k", b"before")])).unwrap();
    log.commit(&Commit::new(Seq(1), &events([2, 3]), &[])).unwrap();
}

/// That nothing has changed since [`fill`].
fn assert_as_filled(log: &dyn EventLog) {
    let reader = log.reader();
    assert_eq!(log.tail(), Seq(3));
    assert_eq!(reader.events(Seq(0), 99).unwrap(), events(1..=3));
    assert_eq!(all_rows(&*reader), [(b"k".to_vec(), b"before".to_vec())]);
}

fn all_rows(reader: &dyn LogReader) -> Vec<Row> {
    reader.rows(b"", Order::Ascending, None, usize::MAX).unwrap()
}

fn an_empty_log_ends_before_the_first_position(place: &impl Place) {
    let log = place.open();
    assert_eq!(log.tail(), Seq::ZERO);
    let reader = log.reader();
    assert_eq!(reader.events(Seq(0), 9).unwrap(), []);
    assert_eq!(reader.row(b"k").unwrap(), None);
    assert_eq!(all_rows(&*reader), []);
}

fn positions_are_dense_however_they_were_committed(place: &impl Place) {
    let mut log = place.open();
    let mut tail = 0;
    for count in [1, 3, 0, 7, 1, 40] {
        let end = log.commit(&Commit::new(Seq(tail), &events(tail + 1..=tail + count), &[])).unwrap();
        assert_eq!(end, Seq(tail + count));
        assert_eq!(log.tail(), end);
        tail = end.0;
    }
    assert_eq!(log.reader().events(Seq(0), 999).unwrap(), events(1..=52));
}

fn what_is_not_dense_is_a_fault_and_stores_nothing(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    for seqs in [&[5][..], &[3], &[4, 4], &[4, 6]] {
        let seqs = events(seqs.iter().copied());
        let refused =
            catch_unwind(AssertUnwindSafe(|| log.commit(&Commit::new(Seq(3), &seqs, &[put(b"k", b"after")]))));
        assert!(refused.is_err(), "whoever numbers events so has a fault");
    }
    assert_as_filled(&*log);
}

fn any_part_of_the_log_can_be_read(place: &impl Place) {
    let mut log = place.open();
    log.commit(&Commit::new(Seq(0), &events([1]), &[])).unwrap();
    log.commit(&Commit::new(Seq(1), &events(2..=5), &[])).unwrap();
    log.commit(&Commit::new(Seq(5), &events(6..=9), &[])).unwrap();
    let reader = log.reader();
    for after in 0..=9 {
        for limit in 0..=10 {
            let found = reader.events(Seq(after), limit).unwrap();
            assert_eq!(found, events((after + 1..=9).take(limit)), "after {after}, at most {limit}");
        }
    }
}

fn beyond_the_end_there_is_nothing(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    for after in [3, 4, 1 << 40, u64::MAX - 1, u64::MAX] {
        assert_eq!(log.reader().events(Seq(after), usize::MAX).unwrap(), [], "after {after}");
    }
}

fn events_and_rows_are_committed_together(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    let tail =
        log.commit(&Commit::new(Seq(3), &events([4]), &[put(b"a", b"1"), remove(b"k"), put(b"b", b"")])).unwrap();
    let reader = log.reader();
    assert_eq!((tail, reader.events(Seq(3), 9).unwrap()), (Seq(4), events([4])));
    assert_eq!(all_rows(&*reader), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())]);
    assert_eq!((reader.row(b"a").unwrap(), reader.row(b"k").unwrap()), (Some(b"1".to_vec()), None));
}

fn rows_may_change_without_events(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    assert_eq!(log.commit(&Commit::new(Seq(3), &[], &[put(b"k", b"after")])).unwrap(), Seq(3));
    assert_eq!(log.reader().row(b"k").unwrap(), Some(b"after".to_vec()));
    let log = {
        drop(log);
        place.open()
    };
    assert_eq!((log.tail(), log.reader().row(b"k").unwrap()), (Seq(3), Some(b"after".to_vec())));
}

fn keys_are_listed_without_what_stands_under_them(place: &impl Place) {
    let mut log = place.open();
    let rows = [put(b"a", b"1"), put(b"ab", b"2"), put(b"ac", b"3"), put(b"b", b"4")];
    log.commit(&Commit::new(Seq::ZERO, &[], &rows)).unwrap();
    let reader = log.reader();
    let keys = |prefix: &str, limit: usize| reader.keys(prefix.as_bytes(), limit).unwrap();
    assert_eq!(keys("a", 9), [b"a".to_vec(), b"ab".to_vec(), b"ac".to_vec()]);
    assert_eq!(keys("a", 2), [b"a".to_vec(), b"ab".to_vec()]);
    assert_eq!(keys("c", 9), Vec::<Vec<u8>>::new());
}

fn neighbours_are_the_events_of_one_commit(place: &impl Place) {
    let mut log = place.open();
    log.commit(&Commit::new(Seq::ZERO, &events(1..=3), &[])).unwrap();
    log.commit(&Commit::new(Seq(3), &events(4..=4), &[])).unwrap();
    let reader = log.reader();
    for seq in 1..=3 {
        assert_eq!(reader.neighbours(Seq(seq)).unwrap(), events(1..=3));
    }
    assert_eq!(reader.neighbours(Seq(4)).unwrap(), events(4..=4));
    assert_eq!(reader.neighbours(Seq(5)).unwrap(), []);
}

fn a_row_has_what_was_written_last(place: &impl Place) {
    let mut log = place.open();
    let changes = [put(b"a", b"1"), put(b"a", b"2"), put(b"b", b"1"), remove(b"b"), remove(b"c"), put(b"c", b"3")];
    log.commit(&Commit::new(Seq(0), &[], &changes)).unwrap();
    assert_eq!(all_rows(&*log.reader()), [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
}

fn a_commit_that_does_not_follow_the_end_is_refused_and_stores_nothing(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    for after in [0, 2, 4] {
        let refused = log.commit(&Commit::new(Seq(after), &events([after + 1]), &[put(b"k", b"after")])).unwrap_err();
        assert!(matches!(refused, LogError::Conflict { tail: Seq(3) }), "{refused:?}");
        assert_eq!(refused.to_string(), "another writer has appended to the log, which ends at position 3");
    }
    assert_as_filled(&*log);
    assert_eq!(log.commit(&Commit::new(Seq(3), &events([4]), &[])).unwrap(), Seq(4), "a refusal does no harm");
}

fn a_value_that_is_too_large_is_refused_and_stores_nothing(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    let large = vec![7; MAX_VALUE];
    let row = log.commit(&Commit::new(Seq(3), &events([4]), &[put(b"k", b"after"), put(b"l", &large)])).unwrap_err();
    let event =
        log.commit(&Commit::new(Seq(3), &[event(4, 9), event(5, MAX_VALUE)], &[put(b"k", b"after")])).unwrap_err();
    for refused in [row, event] {
        assert!(matches!(refused, LogError::TooLarge { bytes } if bytes > MAX_VALUE), "{refused:?}");
        assert!(refused.to_string().ends_with("larger than 65536 bytes; nothing was stored"), "{refused}");
    }
    assert_as_filled(&*log);
    assert_eq!(log.commit(&Commit::new(Seq(3), &events([4]), &[])).unwrap(), Seq(4), "a refusal does no harm");
    drop(log);
    assert_eq!(place.open().tail(), Seq(4));
}

fn the_largest_values_are_kept(place: &impl Place) {
    let mut log = place.open();
    let row = vec![7; MAX_VALUE - 5];
    let largest = event(1, MAX_VALUE - 96);
    log.commit(&Commit::new(Seq(0), std::slice::from_ref(&largest), &[put(b"k", &row)])).unwrap();
    drop(log);
    let reader = place.open().reader();
    assert_eq!(reader.row(b"k").unwrap(), Some(row));
    assert_eq!(reader.events(Seq(0), 9).unwrap(), [largest]);
}

fn a_commit_may_be_larger_than_a_record(place: &impl Place) {
    let mut log = place.open();
    log.commit(&Commit::new(Seq(0), &events([1]), &[])).unwrap();
    let many: Vec<_> = (2..=40).map(|seq| event(seq, 20_000)).collect();
    log.commit(&Commit::new(Seq(1), &many, &[])).unwrap();
    let reader = log.reader();
    for after in 1..=40_u64 {
        let found = reader.events(Seq(after), 3).unwrap();
        let from = usize::try_from(after).unwrap() - 1;
        assert_eq!(found, many[from..many.len().min(from + 3)], "after {after}");
    }
}

fn readers_follow_whatever_thread_they_are_on(place: &impl Place) {
    let mut log = place.open();
    let reader = log.reader();
    let (announce, announced) = std::sync::mpsc::channel::<Seq>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for tail in announced {
                let found = reader.events(Seq(0), usize::MAX).unwrap();
                assert!(found.len() as u64 >= tail.0, "what was acknowledged can be read");
                assert_eq!(found, events(1..=found.len() as u64), "in order, without gaps");
                assert_eq!(found.len() % 3, 0, "whole commits only");
            }
        });
        for commit in 0..20 {
            let first = commit * 3 + 1;
            announce.send(log.commit(&Commit::new(Seq(first - 1), &events(first..first + 3), &[])).unwrap()).unwrap();
        }
        drop(announce);
    });
}

fn opening_anew_finds_everything(place: &impl Place) {
    let mut rows = Vec::new();
    for opening in 0..4 {
        let mut log = place.open();
        assert_eq!(log.tail(), Seq(opening * 3));
        assert_eq!(log.reader().events(Seq(0), 99).unwrap(), events(1..=opening * 3));
        assert_eq!(all_rows(&*log.reader()), rows);
        let key = [u8::try_from(opening).unwrap()];
        log.commit(&Commit::new(Seq(opening * 3), &events(opening * 3 + 1..=opening * 3 + 2), &[put(&key, b"v")]))
            .unwrap();
        log.commit(&Commit::new(Seq(opening * 3 + 2), &events([opening * 3 + 3]), &[])).unwrap();
        rows.push((key.to_vec(), b"v".to_vec()));
    }
}

/// The whole chain from the anchor on, and that the log says the same of its end.
#[track_caller]
fn check_chain(log: &dyn EventLog) -> Head {
    let head = chain::check(&*log.reader()).unwrap();
    assert_eq!(head, log.head());
    head
}

fn every_record_names_the_one_before_it(place: &impl Place) {
    let mut heads = vec![Head::default()];
    for seqs in [1..=1, 2..=3, 4..=4] {
        let mut log = place.open();
        assert_eq!(check_chain(&*log), heads[heads.len() - 1], "it goes on where it ended");
        log.commit(&Commit::new(log.tail(), &events(seqs), &[put(b"k", b"v")])).unwrap();
        heads.push(check_chain(&*log));
        log.commit(&Commit::new(log.tail(), &[], &[put(b"k", b"w")])).unwrap();
        assert_eq!(check_chain(&*log), heads[heads.len() - 1], "rows are not in it");
    }
    let reader = place.open().reader();
    let frames = reader.records(codec::FRAMES, None, 9).unwrap();
    let frames: Vec<_> = frames.iter().map(|(key, sealed)| codec::open_frame(key, sealed).unwrap()).collect();
    let ends: Vec<_> = frames.iter().map(|frame| Head { seq: frame.last, hash: frame.hash }).collect();
    assert_eq!(ends, heads[1..]);
    let names: Vec<_> = frames.iter().map(|frame| frame.previous).collect();
    assert_eq!(names, [Hash::NONE, heads[1].hash, heads[2].hash].map(Some));
}

fn records_are_given_as_they_are_stored(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    log.commit(&Commit { pruning: Some(&pruning(1, &[1], &[])), ..Commit::new(Seq(3), &[], &[]) }).unwrap();
    let reader = log.reader();
    let keys = |prefix: &[u8], after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
        reader.records(prefix, after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    let all = [&b"cj\0\0\0\0\0\0\0\0\x01"[..], b"f\0\0\0\0\0\0\0\x03", b"h", b"rk"].map(<[u8]>::to_vec);
    assert_eq!(keys(b"", None, 9), all);
    for limit in 0..=4 {
        assert_eq!(keys(b"", None, limit), all[..limit]);
        assert_eq!(keys(b"", limit.checked_sub(1).map(|last| &*all[last]), 9), all[limit..]);
    }
    assert_eq!(keys(codec::FRAMES, None, 9), all[1..2]);
    assert_eq!(keys(codec::FRAMES, Some(&all[1]), 9), Vec::<Vec<u8>>::new());
    assert_eq!(keys(codec::FRAMES, Some(b"a"), 9), all[1..2], "from a key before them");
    let (key, sealed) = &reader.records(codec::CARRIED, None, 1).unwrap()[0];
    assert_eq!(codec::open_carried(key, sealed).unwrap(), event(1, 10));
    let (key, sealed) = &reader.records(codec::ROWS, None, 1).unwrap()[0];
    assert_eq!(codec::open_row(key, sealed).unwrap(), b"before");
    assert_eq!(codec::open_anchor(&reader.records(codec::ANCHOR, None, 1).unwrap()[0].1).unwrap().horizon, Seq(1));
}

/// Gives up what comes up to `horizon`, and what is carried of the jobs of some events.
fn pruning(horizon: u64, carry: &[u64], drop: &[u64]) -> Pruning {
    let base = Base { last_dead_letter: horizon * 10 };
    let drop = drop.iter().copied().map(job).collect();
    Pruning { horizon: Seq(horizon), carry: events(carry.iter().copied()), drop, base }
}

/// Nine events in four commits: 1, 2–3, 4–6, 7–9.
fn nine(place: &impl Place) -> Box<dyn EventLog> {
    let mut log = place.open();
    for seqs in [1..=1, 2..=3, 4..=6, 7..=9] {
        log.commit(&Commit::new(log.tail(), &events(seqs), &[put(b"k", b"before")])).unwrap();
    }
    log
}

/// That what comes up to `horizon` is gone but for what is carried, and the rest is whole.
#[track_caller]
fn assert_pruned(log: &dyn EventLog, horizon: u64, carried: &[u64], tail: u64) {
    let reader = log.reader();
    assert_eq!(reader.anchor().unwrap().horizon, Seq(horizon));
    assert_eq!(log.tail(), Seq(tail));
    check_chain(log);
    for after in 0..horizon {
        for limit in [0, 1, 99] {
            let refused = reader.events(Seq(after), limit).unwrap_err();
            assert!(matches!(refused, LogError::Pruned { horizon: is } if is == Seq(horizon)), "{refused:?}");
        }
    }
    for after in horizon..=tail {
        assert_eq!(reader.events(Seq(after), 99).unwrap(), events(after + 1..=tail));
    }
    for one in 1..=3 {
        let left = carried.iter().copied().filter(|seq| job(*seq) == job(one));
        assert_eq!(reader.carried(&job(one)).unwrap(), events(left), "{}", job(one));
    }
    assert_eq!(reader.carried(&JobId::new("jjjj").unwrap()).unwrap(), []);
    for seq in 1..=tail + 1 {
        let there = horizon < seq && seq <= tail;
        assert_eq!(reader.event(Seq(seq)).unwrap(), there.then(|| event(seq, 10)), "event {seq}");
        let neighbours = reader.neighbours(Seq(seq)).unwrap();
        assert_eq!(neighbours.iter().any(|event| event.seq == Seq(seq)), there, "beside event {seq}");
        assert!(there || neighbours.is_empty());
    }
}

fn the_beginning_can_be_given_up(place: &impl Place) {
    let mut log = nine(place);
    let before = log.head();
    assert_eq!(log.reader().anchor().unwrap(), Anchor::default());
    let (appended, rows) = (events([10]), [put(b"k", b"after")]);
    let commit = Commit { pruning: Some(&pruning(6, &[2, 4], &[])), ..Commit::new(Seq(9), &appended, &rows) };
    assert_eq!(log.commit(&commit).unwrap(), Seq(10));
    assert_pruned(&*log, 6, &[2, 4], 10);
    assert_eq!(log.reader().row(b"k").unwrap(), Some(b"after".to_vec()));
    assert_eq!(log.reader().anchor().unwrap().base, Base { last_dead_letter: 60 });
    let frames = log.reader().records(codec::FRAMES, None, 9).unwrap();
    let open = |at: usize| codec::open_frame(&frames[at].0, &frames[at].1).unwrap();
    assert_eq!((open(0).hash, open(1).previous), (before.hash, Some(before.hash)), "what is left is as it was");
    assert_eq!(open(0).previous, Some(log.reader().anchor().unwrap().hash));
    drop(log);
    assert_pruned(&*place.open(), 6, &[2, 4], 10);
}

fn what_is_carried_can_go_later(place: &impl Place) {
    let mut log = nine(place);
    for (horizon, carry, gone, carried) in
        [(3, &[1, 3][..], &[][..], &[1, 3][..]), (6, &[5], &[3], &[1, 5]), (9, &[], &[1, 5], &[])]
    {
        let pruning = pruning(horizon, carry, gone);
        log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(9), &[], &[]) }).unwrap();
        assert_pruned(&*log, horizon, carried, 9);
        drop(log);
        log = place.open();
        assert_pruned(&*log, horizon, carried, 9);
    }
}

fn all_of_it_can_be_given_up(place: &impl Place) {
    let mut log = nine(place);
    let head = log.head();
    log.commit(&Commit { pruning: Some(&pruning(9, &[], &[])), ..Commit::new(Seq(9), &[], &[remove(b"k")]) }).unwrap();
    assert_pruned(&*log, 9, &[], 9);
    assert_eq!((log.head(), log.reader().anchor().unwrap().hash), (head, head.hash));
    drop(log);
    let mut log = place.open();
    assert_eq!(log.head(), head, "the log's end is known though there is no event");
    assert_eq!(log.reader().records(b"", None, 99).unwrap().len(), 1, "the anchor is all there is");
    log.commit(&Commit::new(Seq(9), &events([10]), &[])).unwrap();
    assert_pruned(&*log, 9, &[], 10);
}

fn a_commit_that_is_refused_gives_up_nothing(place: &impl Place) {
    let mut log = nine(place);
    let pruning = pruning(6, &[2], &[]);
    let refused = log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(8), &[], &[]) }).unwrap_err();
    assert!(matches!(refused, LogError::Conflict { tail: Seq(9) }), "{refused:?}");
    let large = [put(b"l", &vec![7; MAX_VALUE])];
    let refused = log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(9), &[], &large) }).unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { .. }), "{refused:?}");
    assert_pruned(&*log, 0, &[], 9);
    log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(9), &[], &[]) }).unwrap();
    assert_pruned(&*log, 6, &[2], 9);
}

fn only_whole_records_are_given_up(place: &impl Place) {
    let mut log = nine(place);
    for horizon in [2, 4, 5, 8] {
        let pruning = pruning(horizon, &[], &[]);
        let refused = log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(9), &[], &[]) }).unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with(&format!("the log is damaged at event {horizon}: no record ends with it")), "{text}");
    }
    for (first, then) in [(10, 12), (3, 3), (6, 3)] {
        let mut give_up = |horizon| {
            let pruning = pruning(horizon, &[], &[]);
            let commit = Commit { pruning: Some(&pruning), ..Commit::new(Seq(9), &[], &[]) };
            catch_unwind(AssertUnwindSafe(|| log.commit(&commit))).is_ok_and(|done| done.is_ok())
        };
        assert!(first > 9 || give_up(first));
        assert!(!give_up(then), "{then} after {first}: whoever gives up what there is not has a fault");
        drop(log);
        log = place.open();
        assert_pruned(&*log, if first > 9 { 0 } else { first }, &[], 9);
    }
}

/// Whoever reads while the beginning is given up reads what there was, or hears that it is gone.
fn readers_meet_what_is_given_up_as_such(place: &impl Place) {
    const EVENTS: u64 = 300;
    let mut log = place.open();
    for seq in 1..=EVENTS {
        log.commit(&Commit::new(Seq(seq - 1), &events([seq]), &[])).unwrap();
    }
    let reader = log.reader();
    let (start, started) = std::sync::mpsc::sync_channel::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut at = 0;
            started.recv().unwrap();
            while at < EVENTS {
                match reader.events(Seq(at), 40) {
                    Ok(found) => {
                        assert_eq!(found, events(at + 1..=at + found.len() as u64));
                        at += 1;
                    }
                    Err(LogError::Pruned { horizon }) => {
                        assert!(horizon > Seq(at));
                        at = horizon.0;
                    }
                    Err(error) => panic!("after {at}: {error}"),
                }
                for seq in at.saturating_sub(3)..=(at + 9).min(EVENTS) {
                    let found = reader.event(Seq(seq)).unwrap();
                    assert!(found.is_none_or(|found| found.seq == Seq(seq)));
                }
            }
        });
        start.send(()).unwrap();
        for horizon in (1..EVENTS).step_by(2) {
            let pruning = pruning(horizon, &[horizon], &[horizon + 2]);
            log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(EVENTS), &[], &[]) }).unwrap();
        }
    });
}

/// Promise 2, with what is given up: after a failure all of it is gone, or nothing.
#[test]
fn of_a_commit_that_fails_the_whole_pruning_is_there_or_nothing() {
    for (fault, horizon, carried) in [(Fault::Lost, 0, &[][..]), (Fault::Stored, 6, &[2][..])] {
        let place = Memory::new();
        drop(nine(&place));
        let mut log = place.0.reopen();
        log.fail_next_commit(fault);
        let commit = Commit { pruning: Some(&pruning(6, &[2], &[])), ..Commit::new(Seq(9), &[], &[]) };
        assert!(matches!(log.commit(&commit).unwrap_err(), LogError::Indeterminate { .. }));
        assert_pruned(&*place.open(), horizon, carried, 9);
    }
}

/// Changes what is stored of events, with a checksum that is right, as somebody would who edits history.
fn edit(log: &mut MemoryLog, last: u64, version: u8, change: impl FnOnce(&mut Vec<u8>)) {
    log.damage_event(Seq(last), |record| {
        let key = [codec::FRAMES, &last.to_be_bytes()].concat();
        let mut body = codec::unseal(&key, codec::VERSION, record).unwrap().1.to_vec();
        change(&mut body);
        *record = codec::seal(&key, version, &body);
        true
    });
}

/// Promise 8: whoever edits a record has to edit all that come after it, and the head.
#[test]
fn an_edited_history_is_noticed() {
    let place = Memory::new();
    drop(nine(&place));
    let mut log = place.0.reopen();
    let head = log.head();
    let other_file = |body: &mut Vec<u8>| {
        let at = body.iter().rposition(|byte| b"xy".contains(byte)).unwrap();
        body[at] ^= 1;
    };
    edit(&mut log, 3, 2, other_file);
    assert_eq!(log.reader().events(Seq(0), 9).unwrap().len(), 9, "every record is whole");
    let error = chain::check(&*log.reader()).unwrap_err().to_string();
    let next = "the log is damaged at the record of event 6: the record before it is not the one that it names.";
    assert!(error.starts_with(next), "{error}");
    edit(&mut log, 3, 2, other_file);
    assert_eq!(check_chain(&log), head);

    edit(&mut log, 9, 2, other_file);
    let error = chain::check(&*log.reader()).unwrap_err().to_string();
    assert!(error.starts_with("the log is damaged at the log's end: the chain ends at position 9 with "), "{error}");
    assert_ne!(check_chain(&log.reopen()), head, "nothing comes after the last: only the head tells");
    edit(&mut log, 9, 2, other_file);

    edit(&mut log, 6, 1, |body| drop(body.drain(..32)));
    let error = chain::check(&*log.reader()).unwrap_err().to_string();
    assert!(error.starts_with("the log is damaged at the record of event 6: it names no record before it."), "{error}");

    log.damage_event(Seq(6), |_| false);
    let error = chain::check(&*log.reader()).unwrap_err().to_string();
    assert!(error.contains("it begins with event 7, and the one before it ends with 3"), "{error}");
}

/// Format 1, in which records of events name none before them: such a log is read, and goes on.
#[test]
fn a_log_of_format_1_goes_on() {
    let place = Memory::new();
    drop(nine(&place));
    for last in [1, 3, 6, 9] {
        edit(&mut place.0.reopen(), last, 1, |body| drop(body.drain(..32)));
    }
    let mut log = place.open();
    assert_pruned(&*log, 0, &[], 9);
    let old = log.head();
    log.commit(&Commit::new(Seq(9), &events([10]), &[])).unwrap();
    assert_pruned(&*log, 0, &[], 10);
    let (key, sealed) = log.reader().records(codec::FRAMES, None, 9).unwrap().pop().unwrap();
    assert_eq!(codec::open_frame(&key, &sealed).unwrap().previous, Some(old.hash), "it names the last of the old ones");
    for (horizon, gone) in [(6, &[][..]), (10, &[2])] {
        let pruning = pruning(horizon, if horizon == 6 { &[2, 6] } else { &[] }, gone);
        log.commit(&Commit { pruning: Some(&pruning), ..Commit::new(Seq(10), &[], &[]) }).unwrap();
    }
    assert_pruned(&*place.open(), 10, &[6], 10);
}

/// Promise 5, where it can be scripted; `log_on_disk.rs` has it for a disk that is full.
#[test]
fn after_a_commit_of_which_nobody_knows_nothing_is_taken_until_the_log_is_opened_anew() {
    for (fault, stored) in [(Fault::Lost, false), (Fault::Stored, true)] {
        let mut log = MemoryLog::new();
        fill(&mut log);
        let reader = log.reader();
        log.fail_next_commit(fault);
        let failed = log.commit(&Commit::new(Seq(3), &events([4, 5]), &[put(b"k", b"after")])).unwrap_err();
        assert!(matches!(failed, LogError::Indeterminate { .. }), "{failed:?}");
        assert!(
            failed
                .to_string()
                .starts_with("writing to the log failed, and what was written last is known only after a restart")
        );
        for after in [3, 5] {
            let refused = log.commit(&Commit::new(Seq(after), &events([after + 1]), &[])).unwrap_err();
            assert!(matches!(refused, LogError::Indeterminate { .. }), "{refused:?}");
        }
        assert_eq!(log.tail(), Seq(3), "{fault:?}: it is not known to be durable");
        assert_eq!(reader.events(Seq(0), 99).unwrap(), events(1..=3), "{fault:?}: readers see what is durable");
        let mut log = log.reopen();
        let (tail, row) = if stored { (5, "after") } else { (3, "before") };
        assert_eq!(log.tail(), Seq(tail), "{fault:?}: all of it, or nothing");
        assert_eq!(log.reader().events(Seq(0), 99).unwrap(), events(1..=tail));
        assert_eq!(log.reader().row(b"k").unwrap(), Some(row.into()));
        assert_eq!(log.commit(&Commit::new(Seq(tail), &events([tail + 1]), &[])).unwrap(), Seq(tail + 1));
    }
}

/// Promise 7: whichever bit is damaged, and wherever reading begins, it is an error that names a position.
#[test]
fn a_damaged_bit_is_an_error_that_names_the_position_and_never_a_panic() {
    let place = MemoryLog::new();
    place.reopen().commit(&Commit::new(Seq(0), &events([1]), &[])).unwrap();
    place.reopen().commit(&Commit::new(Seq(1), &events([2, 3]), &[])).unwrap();
    place.reopen().commit(&Commit::new(Seq(3), &events([4]), &[])).unwrap();
    let mut length = 0;
    place.reopen().damage_event(Seq(2), |record| {
        length = record.len();
        true
    });
    for bit in 0..length * 8 {
        let flip = |record: &mut Vec<u8>| {
            record[bit / 8] ^= 1 << (bit % 8);
            true
        };
        place.reopen().damage_event(Seq(2), flip);
        for after in [0, 1, 2] {
            let error = place.reader().events(Seq(after), 9).unwrap_err();
            assert!(
                matches!(&error, LogError::Corrupt { place, .. } if place.contains("event 3")),
                "bit {bit}: {error:?}"
            );
        }
        assert_eq!(place.reader().events(Seq(3), 9).unwrap(), events([4]), "the rest can be read");
        place.reopen().damage_event(Seq(2), flip);
    }
    assert_eq!(place.reader().events(Seq(0), 9).unwrap(), events(1..=4));
    place.reopen().damage_event(Seq(2), |_| false);
    let error = place.reader().events(Seq(0), 9).unwrap_err().to_string();
    assert!(error.starts_with("the log is damaged at event 2: it is missing."), "{error}");
    assert!(error.contains("restore a backup"), "it says what to do: {error}");
}

/// Keys that sort badly where a bound is off by one: none, the smallest and the largest byte, prefixes of each other.
fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(b'a'), Just(0xfe), Just(0xff)], 0..4)
}

#[derive(Clone, Debug)]
struct Query {
    prefix: Vec<u8>,
    order: Order,
    after: Option<Vec<u8>>,
    limit: usize,
}

fn query() -> impl Strategy<Value = Query> {
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let limit = prop_oneof![0..5_usize, Just(usize::MAX)];
    (key(), order, proptest::option::of(key()), limit).prop_map(|(prefix, order, after, limit)| Query {
        prefix,
        order,
        after,
        limit,
    })
}

fn expected(model: &BTreeMap<Vec<u8>, Vec<u8>>, query: &Query) -> Vec<Row> {
    let mut rows: Vec<Row> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if query.order == Order::Descending {
        rows.reverse();
    }
    let beyond = |key: &Vec<u8>| match (&query.after, query.order) {
        (None, _) => true,
        (Some(after), Order::Ascending) => key > after,
        (Some(after), Order::Descending) => key < after,
    };
    let wanted = rows.into_iter().filter(|(key, _)| key.starts_with(&query.prefix) && beyond(key));
    wanted.take(query.limit).collect()
}

type Commits = Vec<Vec<(Vec<u8>, Option<u8>)>>;

fn commits() -> impl Strategy<Value = Commits> {
    let change = (key(), proptest::option::weighted(0.8, any::<u8>()));
    proptest::collection::vec(proptest::collection::vec(change, 0..8), 1..6)
}

fn rows_are_those_of_the_model(place: &impl Place, commits: Commits, queries: &[Query]) -> Result<(), TestCaseError> {
    let mut model = BTreeMap::new();
    let mut log = place.open();
    for (commit, seq) in commits.into_iter().zip(1..) {
        let changes = commit.into_iter().map(|(key, value)| RowWrite { key, value: value.map(|byte| vec![byte; 3]) });
        let changes: Vec<_> = changes.collect();
        log.commit(&Commit::new(Seq(seq - 1), &events([seq]), &changes)).unwrap();
        for RowWrite { key, value } in changes {
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
        }
    }
    let reader = log.reader();
    for query in queries {
        let Query { prefix, order, after, limit } = query;
        let found = reader.rows(prefix, *order, after.as_deref(), *limit).unwrap();
        prop_assert_eq!(found, expected(&model, query), "{:?}", query);
        prop_assert_eq!(reader.row(prefix).unwrap(), model.get(prefix).cloned());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_in_memory(commits in commits(), queries in proptest::collection::vec(query(), 1..30)) {
        rows_are_those_of_the_model(&Memory::new(), commits, &queries)?;
    }
}

proptest! {
    // Each case opens a directory of its own and syncs every commit.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_on_disk(commits in commits(), queries in proptest::collection::vec(query(), 60..100)) {
        rows_are_those_of_the_model(&Disk::new(), commits, &queries)?;
    }
}
