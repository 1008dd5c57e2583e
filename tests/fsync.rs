//! Durable before acknowledged: the operating system's own record that the log's file was synced before each
//! acknowledgement. A child process commits and acknowledges on its standard output, under strace.
//!
//! Needs `strace`; without it this says so and passes. `.ci/run` installs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::Command;

use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::{JobId, Seq};
use hookledger::domain::job::Report;
use hookledger::domain::time::Timestamp;
use hookledger::log::sled::SledLog;
use hookledger::log::{Commit, EventLog, RowWrite};

const COMMITS: u64 = 25;
const DIRECTORY: &str = "HOOKLEDGER_TEST_FSYNC_DIRECTORY";

#[test]
fn the_file_is_synced_before_every_acknowledgement() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return commit_and_acknowledge(directory.as_ref());
    }
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: strace is not installed, so the sync before the acknowledgement was not seen");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let child = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,write,pwrite64,sync_file_range", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_file_is_synced_before_every_acknowledgement", "--nocapture"])
        .env(DIRECTORY, directory.path().join("data"))
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let trace = std::fs::read_to_string(&trace).unwrap();
    assert_eq!(check(&trace), Ok(COMMITS));
    // The check is able to fail: without the syncs, the same trace does not pass.
    let without: Vec<&str> = trace.lines().filter(|line| !line.contains("sync(")).collect();
    assert!(check(&without.join("\n")).is_err());
}

/// The number of acknowledgements, each of which comes after a sync of everything that was written to the log's file.
fn check(trace: &str) -> Result<u64, String> {
    let (mut acknowledged, mut unsynced, mut synced) = (0, true, false);
    for line in trace.lines() {
        let is = |call: &str| line.contains(&format!(" {call}(")) || line.contains(&format!(" {call} resumed"));
        let on_log = line.contains("/data/log/db>");
        if (is("pwrite64") || is("write")) && on_log {
            unsynced = true;
        } else if (is("fdatasync") || is("fsync")) && on_log && line.ends_with("= 0") {
            (unsynced, synced) = (false, true);
        } else if is("write") && line.contains("acknowledged ") {
            if unsynced || !synced {
                return Err(format!("not synced before: {line}"));
            }
            (acknowledged, synced) = (acknowledged + 1, false);
        }
    }
    Ok(acknowledged)
}

fn commit_and_acknowledge(directory: &Path) {
    let mut log = SledLog::open(directory).unwrap();
    for _ in 0..COMMITS {
        let seq = log.tail().next();
        let event = Event::ProgressReported { report: Report { total: Some(seq.0), ..Report::default() } };
        let job = JobId::new("job").unwrap();
        let envelope = Envelope { seq, at: Timestamp::default(), job, prev: Seq::ZERO, event };
        let row = RowWrite { key: b"jjob".to_vec(), value: Some(vec![7; 500]) };
        log.commit(&Commit::new(log.tail(), &[envelope], &[row])).unwrap();
        let mut out = std::io::stdout().lock();
        out.write_all(format!("acknowledged {seq}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}
