//! `hookledger replay` notices a view that is not what the log says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::path::Path;
use std::process::Output;

use std::time::Duration;

use hookledger::domain::command::Command;
use hookledger::domain::id::JobId;
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::time::Timestamp;
use hookledger::engine::{Engine, Input, Settings};
use hookledger::log::sled::SledLog;
use processes::{Server, client};
use serde_json::json;

fn replay(data_dir: &Path, arguments: &[&str]) -> Output {
    processes::command().args(["replay", "--data-dir"]).arg(data_dir).args(arguments).output().unwrap()
}

fn with_one_job() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let body = json!({"id": "a", "status": "failed"});
    assert_eq!(client().post(server.url("/v1/batches")).send_json(body).unwrap().status(), 200);
    assert!(server.terminate().success());
    directory
}

#[test]
fn a_row_that_is_gone_is_a_difference_and_a_failure() {
    let directory = with_one_job();
    assert_eq!(replay(directory.path(), &[]).status.code(), Some(0));
    let store = sled::Config::new().path(directory.path().join("log")).segment_size(8 * 1024 * 1024).open().unwrap();
    assert!(store.remove(b"rja").unwrap().is_some(), "the row of the job");
    drop(store);
    let output = replay(directory.path(), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("row ja differs") && said.contains("1 stored rows differ"), "{said}");
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("failed       version 2"),
        "it prints what should be there"
    );
}

#[test]
fn a_log_that_was_pruned_is_replayed_from_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let start = Timestamp::from_seconds(1_769_851_800);
    let log = Box::new(SledLog::open(directory.path()).unwrap());
    let mut engine = Engine::open(log, Settings::default(), [1; 32], start).unwrap();
    let register = |id: &str, report| {
        let spec = JobSpec { report, completion_window: "90d".into(), ..JobSpec::default() };
        Input::of(Command::Register { id: JobId::new(id).unwrap(), spec })
    };
    let inputs = vec![register("lives", Report::default()), register("over", Report::of(Status::Completed))];
    engine.step(start, inputs, 0).unwrap();
    engine.step(start.plus(Duration::from_hours(32 * 24)), Vec::new(), 0).unwrap();
    assert_eq!((engine.horizon().0, engine.tail().0), (3, 4));
    drop(engine);
    let output = replay(directory.path(), &[]);
    let (said, shown) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("rebuilt from the log up to position 4 equal the stored ones"), "{said}");
    assert!(shown.starts_with("At position 4: 1 batches") && shown.contains("lives"), "{shown}");
    let output = replay(directory.path(), &["--at", "2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("pruned up to position 3; --at 2 is before that"));
}

#[test]
fn a_position_beyond_the_end_or_no_directory_is_a_usage_error() {
    let directory = with_one_job();
    let output = replay(directory.path(), &["--at", "99"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the log ends at position 2"));
    assert_eq!(replay(&directory.path().join("nothing"), &[]).status.code(), Some(2));
}
