//! What only a log on disk can meet: another process, a lost tail, damage, a disk that is full.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{JobId, Seq};
use hookledger::domain::job::Report;
use hookledger::domain::time::Timestamp;
use hookledger::log::codec;
use hookledger::log::sled::SledLog;
use hookledger::log::{Commit, EventLog, LogError, Order, RowWrite};

/// Names the directory, and with that the task, of this binary when it runs as another process.
const DIRECTORY: &str = "HOOKLEDGER_TEST_LOG_DIRECTORY";

fn event(seq: u64) -> Envelope {
    let report = Report { completed: Some(seq), ..Report::default() };
    let (at, job) = (Timestamp::from_seconds(1), JobId::new("j").unwrap());
    Envelope { seq: Seq(seq), at, job, prev: Seq(seq - 1), event: Event::ProgressReported { report } }
}

fn row(key: &[u8], value: &[u8]) -> RowWrite {
    RowWrite { key: key.to_vec(), value: Some(value.to_vec()) }
}

/// A directory with ten events, each in a commit of its own, and a row.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut log = SledLog::open(directory.path()).unwrap();
    for seq in 1..=10 {
        log.commit(&Commit::new(Seq(seq - 1), &[event(seq)], &[row(b"k", b"value")])).unwrap();
    }
    directory
}

fn open_error(directory: &Path) -> LogError {
    SledLog::open(directory).err().expect("this log can't be opened")
}

/// sled itself, as the log keeps it in its directory. Its lock may still be held for a moment: a process that another
/// test starts has every open file of this one, until it has become another program.
fn sled(directory: &Path) -> sled::Db {
    let config = sled::Config::new().path(directory.join("log")).segment_size(8 * 1024 * 1024);
    let is_held = |error: &sled::Error| error.to_string().contains("could not acquire lock");
    let mut tries = std::iter::repeat_with(|| config.open()).take(1_000_000);
    tries.find(|opened| !opened.as_ref().is_err_and(is_held)).expect("the lock is free in a moment").unwrap()
}

/// Changes what is stored under `key`; `None` removes it.
fn change(directory: &Path, key: &[u8], change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let db = sled(directory);
    let stored = db.get(key).unwrap().expect("it is stored under that key").to_vec();
    match change(stored) {
        Some(changed) => db.insert(key, changed).unwrap(),
        None => db.remove(key).unwrap(),
    };
    db.flush().unwrap();
}

/// Where the record of a commit stands that ends with this event.
fn record_of(seq: u64) -> Vec<u8> {
    [&b"f"[..], &seq.to_be_bytes()].concat()
}

fn with_last_bit_flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

/// CRC-32 as zlib has it, bit by bit: not the crate that the log uses.
fn crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc)))
}

/// A slot of the mark of what was acknowledged.
fn slot(seq: u64) -> Vec<u8> {
    let position = seq.to_be_bytes();
    [&position[..], &crc32(&position).to_be_bytes()].concat()
}

fn mark(directory: &Path) -> PathBuf {
    directory.join("acknowledged")
}

#[test]
fn the_directory_is_its_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/data");
    drop(SledLog::open(&directory).unwrap());
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open_error(&file.path().join("data"));
    assert!(matches!(error, LogError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn only_one_process_has_it_open() {
    let directory = filled();
    let log = SledLog::open(directory.path()).unwrap();
    let other = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "another_process_opens_it", "--nocapture"]).env(DIRECTORY, directory.path());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let expected = format!(
        "refused: the data directory {} is in use by another process; stop that, or name another directory",
        directory.path().display()
    );
    let refused = other();
    assert!(refused.contains(&expected), "{refused}");
    assert_eq!(log.tail(), Seq(10), "no harm done");
    drop(log);
    let opened = other();
    assert!(opened.contains("opened at 10"), "{opened}");
}

/// A lock of the storage engine's own goes with a delay too, or is somebody's who knows nothing of ours.
#[test]
fn whoever_holds_the_storage_engines_lock_is_another_process_as_well() {
    let directory = filled();
    let file = fs::File::open(directory.path().join("log/db")).unwrap();
    file.lock().unwrap();
    let error = open_error(directory.path());
    assert!(matches!(&error, LogError::Locked { path } if *path == directory.path().to_string_lossy()), "{error:?}");
    drop(file);
    assert_eq!(SledLog::open(directory.path()).unwrap().tail(), Seq(10));
}

/// The other process of the test above; by itself it does nothing.
#[test]
fn another_process_opens_it() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    match SledLog::open(directory.as_ref()) {
        Ok(log) => println!("opened at {}", log.tail()),
        Err(error @ LogError::Locked { .. }) => println!("refused: {error}"),
        Err(error) => println!("another error: {error:?}"),
    }
}

#[test]
fn a_log_that_ends_before_what_was_acknowledged_is_not_opened() {
    let whole = [slot(12), slot(11)].concat();
    let swapped = [slot(11), slot(12)].concat();
    let torn = [&slot(12)[..], &slot(11)[..7]].concat();
    for slots in [whole, swapped, torn] {
        let directory = filled();
        fs::write(mark(directory.path()), slots).unwrap();
        let error = open_error(directory.path()).to_string();
        let both = "the log is damaged at the log's end: it ends at position 10, but position 12 was acknowledged.";
        assert!(error.starts_with(both), "{error}");
        assert!(error.contains("restore a backup"), "it says what to do: {error}");
        assert_eq!(open_error(directory.path()).to_string(), error, "asking again changes nothing");
    }
}

#[test]
fn a_mark_that_is_behind_or_lost_or_torn_keeps_nobody_from_opening() {
    for slots in [[slot(9), slot(8)].concat(), Vec::new(), vec![0; 24], [&slot(10)[..], &[0xff; 12]].concat()] {
        let directory = filled();
        fs::write(mark(directory.path()), slots).unwrap();
        let mut log = SledLog::open(directory.path()).unwrap();
        assert_eq!(log.commit(&Commit::new(Seq(10), &[event(11)], &[])).unwrap(), Seq(11));
        drop(log);
        let slots = fs::read(mark(directory.path())).unwrap();
        assert!(slots.chunks(12).any(|found| found == slot(11)), "the mark is what it should be again");
    }
}

#[test]
fn a_lost_tail_is_noticed_by_the_mark() {
    let directory = filled();
    change(directory.path(), &record_of(10), |_| None);
    let error = open_error(directory.path()).to_string();
    assert!(error.contains("ends at position 9, but position 10 was acknowledged"), "{error}");
}

#[test]
fn a_changed_record_is_named_by_its_position_and_the_others_can_be_read() {
    let directory = filled();
    change(directory.path(), &record_of(7), |bytes| Some(with_last_bit_flipped(bytes)));
    let log = SledLog::open(directory.path()).unwrap();
    let error = log.reader().events(Seq(0), 99).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { place, .. } if place.contains("event 7")), "{error:?}");
    assert!(error.to_string().contains("event 7: its checksum does not match"), "{error}");
    assert_eq!(log.reader().events(Seq(0), 6).unwrap().len(), 6);
    assert_eq!(log.reader().events(Seq(7), 99).unwrap().len(), 3);
}

#[test]
fn a_missing_record_is_named_by_its_position() {
    let directory = filled();
    change(directory.path(), &record_of(7), |_| None);
    let log = SledLog::open(directory.path()).unwrap();
    for after in [0, 6] {
        let error = log.reader().events(Seq(after), 99).unwrap_err().to_string();
        assert!(error.starts_with("the log is damaged at event 7: it is missing."), "{error}");
    }
}

#[test]
fn a_damaged_last_record_is_noticed_at_opening() {
    let directory = filled();
    change(directory.path(), &record_of(10), |bytes| Some(with_last_bit_flipped(bytes)));
    let error = open_error(directory.path());
    assert!(matches!(&error, LogError::Corrupt { place, .. } if place.contains("event 10")), "{error:?}");
}

#[test]
fn a_record_at_another_place_is_noticed() {
    let directory = filled();
    let sixth = sled(directory.path()).get(record_of(6)).unwrap().unwrap().to_vec();
    change(directory.path(), &record_of(7), |_| Some(sixth));
    let error = SledLog::open(directory.path()).unwrap().reader().events(Seq(6), 1).unwrap_err();
    assert!(error.to_string().contains("event 7: its checksum does not match"), "{error}");
}

/// As a newer version of this program would have written it: whole, and not to be read as if it were damaged.
fn by_a_newer_version(key: &[u8], stored: &[u8]) -> Vec<u8> {
    let (_, body) = codec::unseal(key, codec::VERSION, stored).unwrap();
    let checksum = crc32(&[key, &[9], body].concat());
    [&[9][..], &checksum.to_le_bytes(), body].concat()
}

#[test]
fn what_a_newer_version_wrote_asks_for_that_version() {
    let directory = filled();
    let key = record_of(7);
    change(directory.path(), &key, |stored| Some(by_a_newer_version(&key, &stored)));
    let log = SledLog::open(directory.path()).unwrap();
    let error = log.reader().events(Seq(6), 1).unwrap_err();
    assert!(matches!(error, LogError::Newer { version: 9, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("event 7 was written in format 9 by a newer version of this program"), "{text}");
    assert!(text.ends_with("use that version"), "{text}");
    drop(log);
    let key = record_of(10);
    change(directory.path(), &key, |stored| Some(by_a_newer_version(&key, &stored)));
    assert!(matches!(open_error(directory.path()), LogError::Newer { version: 9, .. }));
}

#[test]
fn a_record_that_is_whole_and_yet_makes_no_sense_is_an_error() {
    let key = record_of(7);
    let bodies: [&[u8]; 6] = [b"", b"\x00", b"\xff", b"\x01\xff\xff\xff\xff", b"\xfc\xff\xff\xff\xff", &[1; 300]];
    let chained = bodies.iter().map(|body| (2, [&[7; 32], *body].concat()));
    let unchained = bodies.iter().map(|body| (1, body.to_vec()));
    for (version, body) in chained.chain(unchained).chain([(2, vec![7; 31])]) {
        let directory = filled();
        change(directory.path(), &key, |_| Some(codec::seal(&key, version, &body)));
        let error = SledLog::open(directory.path()).unwrap().reader().events(Seq(0), 99).unwrap_err();
        assert!(matches!(&error, LogError::Corrupt { place, .. } if place.contains("event 7")), "{body:?}: {error:?}");
    }
}

#[test]
fn a_damaged_row_is_named_by_its_key() {
    let directory = filled();
    change(directory.path(), b"rk", |bytes| Some(with_last_bit_flipped(bytes)));
    let reader = SledLog::open(directory.path()).unwrap().reader();
    for error in [reader.row(b"k").unwrap_err(), reader.rows(b"", Order::Ascending, None, 9).unwrap_err()] {
        assert!(error.to_string().starts_with("the log is damaged at row rk: its checksum does not match"), "{error}");
    }
}

/// sled's own file, cut or overwritten at many places: whatever sled makes of it (it drops a damaged tail in silence, and
/// its decoding asserts), what was acknowledged is either there or missed.
#[test]
fn damage_to_the_storage_engines_file_is_an_error_or_does_no_harm() {
    let directory = filled();
    let file = directory.path().join("log/db");
    let whole = fs::read(&file).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for place in (0..whole.len()).step_by((whole.len() / 40).max(1)) {
        for cut in [true, false] {
            let at = copy.path().join(format!("{place}-{cut}"));
            copy_directory(directory.path(), &at);
            let mut bytes = whole.clone();
            if cut {
                bytes.truncate(place);
            } else {
                bytes[place..].iter_mut().take(16).for_each(|byte| *byte ^= 0xa5);
            }
            fs::write(at.join("log/db"), bytes).unwrap();
            if let Ok(log) = SledLog::open(&at) {
                assert!(log.tail() >= Seq(10), "{place} {cut}: a lost tail is noticed");
                if let Ok(events) = log.reader().events(Seq(0), 99) {
                    assert_eq!(events, (1..=10).map(event).collect::<Vec<_>>(), "{place} {cut}");
                }
            }
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A file size limit stands for a full disk: the commit that fails is one of which nobody knows, no further one is taken,
/// and whoever opens the log with room again finds what was acknowledged and nothing in part.
#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    // The limit's signal is ignored, so that writing fails instead.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact a_writer_fills_the_disk --nocapture";
    let mut command = Command::new("sh");
    let output = command.args(["-c", script]).arg(this).env(DIRECTORY, directory.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let acknowledged = said.lines().filter_map(|line| line.split("acknowledged ").nth(1)).next_back();
    let acknowledged: u64 = acknowledged.expect(&said).parse().unwrap();
    assert!(acknowledged >= 2, "{said}");
    assert!(said.contains("failed: writing to the log failed"), "{said}");
    assert!(said.contains("then, with as little as can be: writing to the log failed"), "{said}");
    assert!(said.contains("an earlier commit failed"), "{said}");
    let log = SledLog::open(directory.path()).unwrap();
    let tail = log.tail().0;
    assert!(tail == acknowledged || tail == acknowledged + 2, "{tail} after {acknowledged}: whole commits only");
    assert_eq!(log.reader().events(Seq(0), usize::MAX).unwrap(), (1..=tail).map(event).collect::<Vec<_>>());
}

/// The writer of the test above; by itself it does nothing.
#[test]
fn a_writer_fills_the_disk() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut log = SledLog::open(directory.as_ref()).unwrap();
    let mut noise = 1_u64;
    for seq in (0..400).map(|commit| commit * 2) {
        // Not compressible, and more than the events themselves.
        let filler = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.to_be_bytes()
        });
        let filler: Vec<u8> = filler.take(6_000).flatten().collect();
        match log.commit(&Commit::new(Seq(seq), &[event(seq + 1), event(seq + 2)], &[row(b"filler", &filler)])) {
            Ok(tail) => println!("acknowledged {tail}"),
            Err(error) => {
                println!("failed: {error}");
                let then = log.commit(&Commit::new(Seq(seq), &[event(seq + 1)], &[])).unwrap_err();
                println!("then, with as little as can be: {then}");
                return;
            }
        }
    }
}

/// A data directory that was there before keeps its rights; what is stored in it is closed to others all the same.
#[test]
fn the_store_is_closed_also_in_a_directory_that_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let rights = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = directory.path().join("log");
    fs::create_dir(&store).unwrap();
    for path in [directory.path(), &store] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    drop(SledLog::open(directory.path()).unwrap());
    assert_eq!((rights(directory.path()), rights(&store)), (0o755, 0o700));
}

#[test]
fn a_reader_that_outlives_its_log_keeps_the_directory() {
    let directory = filled();
    let log = SledLog::open(directory.path()).unwrap();
    let reader = log.reader();
    drop(log);
    assert!(matches!(open_error(directory.path()), LogError::Locked { .. }));
    assert_eq!(reader.events(Seq::ZERO, 99).unwrap().len(), 10, "and can read");
    drop(reader);
    assert_eq!(SledLog::open(directory.path()).unwrap().tail(), Seq(10));
}
