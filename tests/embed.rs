//! The embedding example, as a user would run it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::path::PathBuf;
use std::process::Command;

use processes::{PATIENCE, Receiver};

#[test]
fn the_example_delivers_one_signed_webhook_and_may_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start("an-embedding-secret");
    let example = built();
    let run = || {
        let mut command = Command::new(&example);
        command.arg(directory.path().join("data")).arg(&receiver.url).env("WEBHOOK_SECRET", "an-embedding-secret");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(), "import-1 is completed; its webhook is on its way\n");
    let got = receiver.got.recv_timeout(PATIENCE).unwrap();
    assert_eq!((got.job().as_str(), got.verified), ("import-1", Ok(())));
    assert_eq!(run(), "import-1 is completed; its webhook is on its way\n");
    assert!(receiver.got.try_recv().is_err(), "what holds already is told only once");
}

/// The example's binary, which `cargo test` has built; `cargo test --test embed` alone has not.
fn built() -> PathBuf {
    // This test is target/debug/deps/embed-…, the example target/debug/examples/embed.
    let this = std::env::current_exe().unwrap();
    let example = this.ancestors().nth(2).unwrap().join("examples/embed");
    assert!(example.exists(), "not built yet: cargo build --example embed");
    example
}
