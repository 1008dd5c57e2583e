//! The receivers of `examples/receivers`, each against what the server really sends: libraries that others have written
//! have to verify it.
//!
//! Each needs its language and its library; without them this says so, loudly, and passes. `examples/receivers/README.md`
//! says how to install them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;

use hookledger::clock::{Clock, SystemClock};
use hookledger::signature::{Message, Secret, headers};
use processes::{PATIENCE, Server, client};
use serde_json::{Value, json};

/// Base64, in two pieces, so that no scanner takes it for a leak; and a text, with more than ASCII in it.
const SECRETS: [&str; 2] = [concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "a plain secret, grüße"];

const BODY: &[u8] = br#"{"id": "forged"}"#;

/// A running receiver.
struct Running {
    child: Child,
    lines: Channel<String>,
    url: String,
}

impl Running {
    fn start(command: &mut Command, secret: &str) -> Self {
        let mut child = command.arg("0").env("WEBHOOK_SECRET", secret).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || out.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = lines.recv_timeout(PATIENCE).expect("the receiver prints a line");
        let url = first.strip_prefix("listening on ").expect("it says where").to_owned();
        Self { child, lines, url }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the receiver prints a line")
    }

    /// Sends these headers with a body, and gives the answer's status.
    fn post(&self, headers: &[(&str, String)], body: &[u8]) -> u16 {
        let request =
            headers.iter().fold(client().post(&self.url), |request, (name, value)| request.header(*name, value));
        request.send(body).unwrap().status().as_u16()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Through the server, and then by hand what a server would not send.
fn check(name: &str, start: impl Fn() -> Command) {
    for secret in SECRETS {
        let receiver = Running::start(&mut start(), secret);
        takes_what_the_server_sends(name, &receiver, secret);
        takes_a_repetition_once(name, &receiver, secret);
        refuses_what_is_not_genuine(name, &receiver, secret);
    }
    goes_on_during_a_rotation(name, &start);
    println!("{name}: its library verifies what the server sends");
}

fn takes_what_the_server_sends(name: &str, receiver: &Running, secret: &str) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let webhook = json!({"url": receiver.url, "secret": secret});
    let job = json!({"id": "one", "metadata": {"who": "grüße \u{7f} 😀"}, "webhook": webhook});
    send(&server, "POST", "/v1/batches", &job);
    send(&server, "PATCH", "/v1/batches/one", &json!({"status": "completed"}));
    let line = receiver.line();
    assert!(line.starts_with("200 completed one attempt 1 msg_") && line.ends_with(" verified"), "{name}: {line}");
}

fn send(server: &Server, method: &str, path: &str, body: &Value) {
    let request = ureq::http::Request::builder().method(method).uri(server.url(path));
    let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
    assert_eq!(client().run(request).unwrap().status(), 200);
}

/// While both secrets sign, a receiver that knows the former one and one that knows the new one both verify; when the
/// overlap is over, the former one does not any more.
fn goes_on_during_a_rotation(name: &str, start: &impl Fn() -> Command) {
    let [former, new] = SECRETS;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    for (job, knows, overlap, expected) in [
        ("former", former, 86_400, "200 completed former"),
        ("new", new, 86_400, "200 completed new"),
        ("over", former, 0, "401 refused: "),
    ] {
        let receiver = Running::start(&mut start(), knows);
        let webhook = json!({"url": receiver.url, "secret": former, "max_retries": 1});
        send(&server, "POST", "/v1/batches", &json!({"id": job, "webhook": webhook}));
        let rotation = json!({"status": "completed", "webhook": {"secret": new, "overlap": overlap}});
        send(&server, "PATCH", &format!("/v1/batches/{job}"), &rotation);
        let line = receiver.line();
        assert!(line.starts_with(expected), "{name}, {job}: {line}");
    }
}

fn signed(secret: &str, timestamp: i64) -> Vec<(&'static str, String)> {
    let message = Message { id: "msg_by_hand", timestamp, event: "completed", attempt: 2, body: BODY };
    headers(&message, &[Secret::new(secret).unwrap()])
}

fn takes_a_repetition_once(name: &str, receiver: &Running, secret: &str) {
    let now = SystemClock.now().as_seconds();
    for note in ["verified", "seen before"] {
        assert_eq!(receiver.post(&signed(secret, now), BODY), 200, "{name}");
        assert_eq!(receiver.line(), format!("200 completed forged attempt 2 msg_by_hand {note}"), "{name}");
    }
}

fn refuses_what_is_not_genuine(name: &str, receiver: &Running, secret: &str) {
    let now = SystemClock.now().as_seconds();
    let good = signed(secret, now);
    let with_signature = |value: &str| {
        let keep = |(name, old): &(&'static str, String)| {
            (*name, if *name == "webhook-signature" { value.to_owned() } else { old.clone() })
        };
        good.iter().map(keep).collect::<Vec<_>>()
    };
    let unsigned: Vec<_> = good.iter().filter(|(name, _)| *name != "webhook-signature").cloned().collect();
    for (what, headers, body) in [
        ("another secret", signed("another", now), BODY),
        ("an old request", signed(secret, now - 3600), BODY),
        ("a request from the future", signed(secret, now + 3600), BODY),
        ("another body", good.clone(), &br#"{"id": "other"}"#[..]),
        ("no signature", unsigned, BODY),
        ("no signature's form", with_signature("garbage"), BODY),
        ("an empty signature", with_signature("v1,"), BODY),
        ("no base64", with_signature("v1,!!! , v1"), BODY),
    ] {
        assert_eq!(receiver.post(&headers, body), 401, "{name}: {what}");
        let line = receiver.line();
        assert!(line.starts_with("401 refused: "), "{name}: {what}: {line}");
    }
}

fn directory(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/receivers").join(language)
}

/// Whether this runs and succeeds.
fn runs(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn skipped(language: &str, missing: &str) {
    // Past the capture of a test's output, which would hide it.
    let line = format!("SKIPPED: {missing}, so nothing in {language} has verified what the server sends\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn python() {
    let own = directory("python").join(".venv/bin/python");
    let python = [own, "python3".into()]
        .into_iter()
        .find(|python| runs(Command::new(python).args(["-c", "import standardwebhooks"])));
    let Some(python) = python else {
        return skipped("Python", "python3 or its package standardwebhooks is not installed");
    };
    check("Python", || {
        let mut command = Command::new(&python);
        command.arg(directory("python").join("receiver.py"));
        command
    });
}

#[test]
fn node() {
    let at = directory("node");
    if !runs(Command::new("node").current_dir(&at).args(["-e", "require('standardwebhooks')"])) {
        return skipped("JavaScript", "node or its package standardwebhooks is not installed");
    }
    check("Node", || {
        let mut command = Command::new("node");
        command.arg(at.join("receiver.js"));
        command
    });
}

#[test]
fn go() {
    let built = tempfile::tempdir().unwrap();
    let binary = built.path().join("receiver");
    if !runs(Command::new("go").current_dir(directory("go")).args(["build", "-o"]).arg(&binary).arg(".")) {
        return skipped("Go", "go is not installed, or the library is not there (go mod tidy)");
    }
    check("Go", || Command::new(&binary));
}

#[test]
fn rust() {
    // This test is target/debug/deps/receivers-…, the example target/debug/examples/receiver.
    let this = std::env::current_exe().unwrap();
    let example = this.ancestors().nth(2).unwrap().join("examples/receiver");
    assert!(example.exists(), "not built yet: cargo build --example receiver");
    check("Rust", || Command::new(&example));
}
