//! Clients that others wrote, against the real binary: OpenAI's own Python package with its verification of webhooks,
//! Standard Webhooks' reference package, and schemathesis, which makes requests from the API's description.
//!
//! Needs the interpreter that `HOOKLEDGER_PYTHON` names, with `tests/python/requirements.txt` installed. Without it this
//! says so and passes; with `HOOKLEDGER_REQUIRE_CLIENTS=1` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use processes::{BINARY, Server};

/// A command that runs one of the scripts here; `None` when there is nothing to run it with.
fn script(name: &str) -> Option<Command> {
    let python = std::env::var_os("HOOKLEDGER_PYTHON").map(PathBuf::from).filter(|python| python.is_file());
    let Some(python) = python else {
        let required = std::env::var_os("HOOKLEDGER_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(!required, "HOOKLEDGER_PYTHON names no interpreter, and HOOKLEDGER_REQUIRE_CLIENTS asks for one");
        // Written to the stream itself: what is printed by a test that passes is not shown.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {name} was not run: HOOKLEDGER_PYTHON names no interpreter");
        return None;
    };
    let mut command = Command::new(python);
    command.arg(PathBuf::from("tests/python").join(name)).env("NO_PROXY", "*").env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

#[track_caller]
fn passes(mut command: Command) {
    let output = command.output().expect("the interpreter starts");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    println!("{said}");
}

const KEY: &str = "a-key-of-more-than-24-characters";

#[test]
fn openais_own_client_works() {
    for key in [None, Some(KEY)] {
        let Some(mut script) = script("openai_client.py") else { return };
        let directory = tempfile::tempdir().unwrap();
        let environment: Vec<_> = key.iter().map(|key| ("HOOKLEDGER_API_KEYS", *key)).collect();
        let server = Server::start_with(directory.path(), &environment);
        script.arg(server.url("")).envs(key.map(|key| ("HOOKLEDGER_API_KEY", key)));
        passes(script);
        assert!(server.terminate().success());
    }
}

/// The short form; `tests/python/fuzz_api.py --examples 1000` is the long one. It starts the server
/// itself, so that nothing leaves the machine.
#[test]
fn every_answer_is_one_that_the_description_has() {
    let Some(mut script) = script("fuzz_api.py") else { return };
    script.args(["--binary", BINARY]);
    passes(script);
}
