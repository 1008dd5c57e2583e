//! The contract of a log, as `src/log.rs` numbers it, held against every implementation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{JobId, Seq};
use hookledger::domain::job::Report;
use hookledger::domain::time::Timestamp;
use hookledger::log::memory::{Fault, MemoryLog};
use hookledger::log::sled::SledLog;
use hookledger::log::{EventLog, LogError, LogReader, MAX_VALUE, Order, Row, RowWrite};
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
);

/// An event of about `bytes` bytes.
fn event(seq: u64, bytes: usize) -> Envelope {
    let report = Report { output_file_id: Some("x".repeat(bytes)), ..Report::default() };
    let job = JobId::new(&format!("job-{seq}")).unwrap();
    let at = Timestamp::from_seconds(i64::try_from(seq).unwrap());
    Envelope { seq: Seq(seq), at, job, prev: Seq::ZERO, event: Event::ProgressReported { report } }
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
    log.commit(Seq(0), &events([1]), &[put(b"k", b"before")]).unwrap();
    log.commit(Seq(1), &events([2, 3]), &[]).unwrap();
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
        let end = log.commit(Seq(tail), &events(tail + 1..=tail + count), &[]).unwrap();
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
        let refused = catch_unwind(AssertUnwindSafe(|| log.commit(Seq(3), &seqs, &[put(b"k", b"after")])));
        assert!(refused.is_err(), "whoever numbers events so has a fault");
    }
    assert_as_filled(&*log);
}

fn any_part_of_the_log_can_be_read(place: &impl Place) {
    let mut log = place.open();
    log.commit(Seq(0), &events([1]), &[]).unwrap();
    log.commit(Seq(1), &events(2..=5), &[]).unwrap();
    log.commit(Seq(5), &events(6..=9), &[]).unwrap();
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
    let tail = log.commit(Seq(3), &events([4]), &[put(b"a", b"1"), remove(b"k"), put(b"b", b"")]).unwrap();
    let reader = log.reader();
    assert_eq!((tail, reader.events(Seq(3), 9).unwrap()), (Seq(4), events([4])));
    assert_eq!(all_rows(&*reader), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())]);
    assert_eq!((reader.row(b"a").unwrap(), reader.row(b"k").unwrap()), (Some(b"1".to_vec()), None));
}

fn rows_may_change_without_events(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    assert_eq!(log.commit(Seq(3), &[], &[put(b"k", b"after")]).unwrap(), Seq(3));
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
    log.commit(Seq::ZERO, &[], &rows).unwrap();
    let reader = log.reader();
    let keys = |prefix: &str, limit: usize| reader.keys(prefix.as_bytes(), limit).unwrap();
    assert_eq!(keys("a", 9), [b"a".to_vec(), b"ab".to_vec(), b"ac".to_vec()]);
    assert_eq!(keys("a", 2), [b"a".to_vec(), b"ab".to_vec()]);
    assert_eq!(keys("c", 9), Vec::<Vec<u8>>::new());
}

fn neighbours_are_the_events_of_one_commit(place: &impl Place) {
    let mut log = place.open();
    log.commit(Seq::ZERO, &events(1..=3), &[]).unwrap();
    log.commit(Seq(3), &events(4..=4), &[]).unwrap();
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
    log.commit(Seq(0), &[], &changes).unwrap();
    assert_eq!(all_rows(&*log.reader()), [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
}

fn a_commit_that_does_not_follow_the_end_is_refused_and_stores_nothing(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    for after in [0, 2, 4] {
        let refused = log.commit(Seq(after), &events([after + 1]), &[put(b"k", b"after")]).unwrap_err();
        assert!(matches!(refused, LogError::Conflict { tail: Seq(3) }), "{refused:?}");
        assert_eq!(refused.to_string(), "another writer has appended to the log, which ends at position 3");
    }
    assert_as_filled(&*log);
    assert_eq!(log.commit(Seq(3), &events([4]), &[]).unwrap(), Seq(4), "a refusal does no harm");
}

fn a_value_that_is_too_large_is_refused_and_stores_nothing(place: &impl Place) {
    let mut log = place.open();
    fill(&mut *log);
    let large = vec![7; MAX_VALUE];
    let row = log.commit(Seq(3), &events([4]), &[put(b"k", b"after"), put(b"l", &large)]).unwrap_err();
    let event = log.commit(Seq(3), &[event(4, 9), event(5, MAX_VALUE)], &[put(b"k", b"after")]).unwrap_err();
    for refused in [row, event] {
        assert!(matches!(refused, LogError::TooLarge { bytes } if bytes > MAX_VALUE), "{refused:?}");
        assert!(refused.to_string().ends_with("larger than 65536 bytes; nothing was stored"), "{refused}");
    }
    assert_as_filled(&*log);
    assert_eq!(log.commit(Seq(3), &events([4]), &[]).unwrap(), Seq(4), "a refusal does no harm");
    drop(log);
    assert_eq!(place.open().tail(), Seq(4));
}

fn the_largest_values_are_kept(place: &impl Place) {
    let mut log = place.open();
    let row = vec![7; MAX_VALUE - 5];
    let largest = event(1, MAX_VALUE - 64);
    log.commit(Seq(0), std::slice::from_ref(&largest), &[put(b"k", &row)]).unwrap();
    drop(log);
    let reader = place.open().reader();
    assert_eq!(reader.row(b"k").unwrap(), Some(row));
    assert_eq!(reader.events(Seq(0), 9).unwrap(), [largest]);
}

fn a_commit_may_be_larger_than_a_record(place: &impl Place) {
    let mut log = place.open();
    log.commit(Seq(0), &events([1]), &[]).unwrap();
    let many: Vec<_> = (2..=40).map(|seq| event(seq, 20_000)).collect();
    log.commit(Seq(1), &many, &[]).unwrap();
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
            announce.send(log.commit(Seq(first - 1), &events(first..first + 3), &[]).unwrap()).unwrap();
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
        log.commit(Seq(opening * 3), &events(opening * 3 + 1..=opening * 3 + 2), &[put(&key, b"v")]).unwrap();
        log.commit(Seq(opening * 3 + 2), &events([opening * 3 + 3]), &[]).unwrap();
        rows.push((key.to_vec(), b"v".to_vec()));
    }
}

/// Promise 5, where it can be scripted; `log_on_disk.rs` has it for a disk that is full.
#[test]
fn after_a_commit_of_which_nobody_knows_nothing_is_taken_until_the_log_is_opened_anew() {
    for (fault, stored) in [(Fault::Lost, false), (Fault::Stored, true)] {
        let mut log = MemoryLog::new();
        fill(&mut log);
        let reader = log.reader();
        log.fail_next_commit(fault);
        let failed = log.commit(Seq(3), &events([4, 5]), &[put(b"k", b"after")]).unwrap_err();
        assert!(matches!(failed, LogError::Indeterminate { .. }), "{failed:?}");
        assert!(
            failed
                .to_string()
                .starts_with("writing to the log failed, and what was written last is known only after a restart")
        );
        for after in [3, 5] {
            let refused = log.commit(Seq(after), &events([after + 1]), &[]).unwrap_err();
            assert!(matches!(refused, LogError::Indeterminate { .. }), "{refused:?}");
        }
        assert_eq!(log.tail(), Seq(3), "{fault:?}: it is not known to be durable");
        assert_eq!(reader.events(Seq(0), 99).unwrap(), events(1..=3), "{fault:?}: readers see what is durable");
        let mut log = log.reopen();
        let (tail, row) = if stored { (5, "after") } else { (3, "before") };
        assert_eq!(log.tail(), Seq(tail), "{fault:?}: all of it, or nothing");
        assert_eq!(log.reader().events(Seq(0), 99).unwrap(), events(1..=tail));
        assert_eq!(log.reader().row(b"k").unwrap(), Some(row.into()));
        assert_eq!(log.commit(Seq(tail), &events([tail + 1]), &[]).unwrap(), Seq(tail + 1));
    }
}

/// Promise 7: whichever bit is damaged, and wherever reading begins, it is an error that names a position.
#[test]
fn a_damaged_bit_is_an_error_that_names_the_position_and_never_a_panic() {
    let place = MemoryLog::new();
    place.reopen().commit(Seq(0), &events([1]), &[]).unwrap();
    place.reopen().commit(Seq(1), &events([2, 3]), &[]).unwrap();
    place.reopen().commit(Seq(3), &events([4]), &[]).unwrap();
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
        log.commit(Seq(seq - 1), &events([seq]), &changes).unwrap();
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
