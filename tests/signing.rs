//! `hookledger sign`, `verify` and `listen`: the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;
use std::time::Duration;

use hookledger::clock::{Clock, Stopwatch, SystemClock};
use hookledger::signature::{Message, Secret, headers};
use processes::{BINARY, PATIENCE, Server, client};
use serde_json::{Value, json};

const VARIABLE: &str = "HOOKLEDGER_WEBHOOK_SECRET";
/// In two pieces, so that no scanner takes it for a leak.
const SECRET: &str = concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
const PAYLOAD: &str = r#"{"test": 2432232314}"#;
/// The example that Standard Webhooks publishes.
const EXAMPLE: [&str; 4] = ["--id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "--timestamp", "1614265330"];

/// Runs it with a payload on standard input, and a secret in the environment unless it is empty.
fn hookledger(arguments: &[&str], secret: &str, payload: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove(VARIABLE);
    if !secret.is_empty() {
        command.env(VARIABLE, secret);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended already, over its arguments.
    let _ = child.stdin.take().unwrap().write_all(payload.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str], payload: &str) -> String {
    let output = hookledger(arguments, SECRET, payload);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(message), "{stderr}");
    assert!(!stderr.contains("MfKQ9r8"), "no secret is printed");
}

#[test]
fn sign_prints_the_published_example() {
    let printed = succeeds(&[&["sign"][..], &EXAMPLE].concat(), PAYLOAD);
    let expected = "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\nwebhook-timestamp: 1614265330\n\
                    webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n";
    assert_eq!(printed, expected);
    let printed = succeeds(&[&["sign", "--json"][..], &EXAMPLE].concat(), PAYLOAD);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn sign_makes_the_form_of_github_when_it_is_asked_to() {
    let output = hookledger(&["sign", "--scheme", "github"], "It's a Secret to Everybody", "Hello, World!");
    let printed = String::from_utf8(output.stdout).unwrap();
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert!(printed.ends_with(&format!("\nX-Webhook-Signature: {signature}\n")), "{printed}");
    assert!(!printed.contains("webhook-signature"), "one scheme at a time");
}

#[test]
fn what_was_signed_verifies_from_lines_from_a_file_and_from_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (payload, secrets, file) = (path("payload"), path("secrets"), path("headers"));
    std::fs::write(&payload, PAYLOAD).unwrap();
    std::fs::write(&secrets, format!("a new secret\n{SECRET}\n")).unwrap();

    let printed = succeeds(&["sign", &payload], "");
    let mut by_flags = vec!["verify", &payload];
    printed.lines().for_each(|line| by_flags.extend(["-H", line]));
    assert!(succeeds(&by_flags, "").starts_with("genuine: msg_"));

    for form in [&["sign"][..], &["sign", "--json"]] {
        std::fs::write(&file, succeeds(form, PAYLOAD)).unwrap();
        assert!(succeeds(&["verify", "--headers-file", &file], PAYLOAD).starts_with("genuine: msg_"));
    }

    // Two secrets, two signatures, each of which is enough.
    let both = hookledger(&["sign", "--secret-file", &secrets], "", PAYLOAD);
    let printed = String::from_utf8(both.stdout).unwrap();
    assert_eq!(printed.matches("v1,").count(), 2, "{printed}");
    std::fs::write(&file, printed).unwrap();
    for secret in [SECRET, "a new secret"] {
        assert!(hookledger(&["verify", "--headers-file", &file], secret, PAYLOAD).status.success());
    }
    fails(
        &hookledger(&["verify", "--headers-file", &file], "neither", PAYLOAD),
        1,
        "not genuine: no signature matches",
    );
}

#[test]
fn verify_says_why_not() {
    let (id, timestamp) = ("webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp: 1614265330");
    let signature = "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let example = ["verify", "-H", id, "-H", timestamp, "-H", signature];
    let with = |more: &[&str], payload: &str| hookledger(&[&example[..], more].concat(), SECRET, payload);
    assert!(with(&["--at", "1614265330"], PAYLOAD).status.success());
    assert!(with(&["--tolerance", "4000000000"], PAYLOAD).status.success());
    fails(&with(&[], PAYLOAD), 1, "not genuine: the timestamp is too old");
    fails(&with(&["--at", "1614265331", "--tolerance", "0"], PAYLOAD), 1, "not genuine: the timestamp is too old");
    fails(&with(&["--at", "1614265330"], "{}"), 1, "not genuine: no signature matches");
    fails(&with(&["--at", "1614265330", "-H", id], PAYLOAD), 1, "webhook-id is there more than once");
    // The other scheme's header is missing: there is no falling back to this one.
    let github = with(&["--at", "1614265330", "--scheme", "github"], PAYLOAD);
    fails(&github, 1, "not genuine: the header X-Webhook-Signature is missing");

    let refused = with(&["--json"], PAYLOAD);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        serde_json::from_slice::<Value>(&refused.stdout).unwrap(),
        json!({"valid": false, "error": "the timestamp is too old"})
    );
    let genuine = with(&["--json", "--at", "1614265330"], PAYLOAD);
    assert_eq!(
        serde_json::from_slice::<Value>(&genuine.stdout).unwrap(),
        json!({"valid": true, "id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "timestamp": 1_614_265_330})
    );
}

#[test]
fn mistakes_in_usage_are_told_apart_from_failures() {
    let run = |arguments: &[&str], secret| hookledger(arguments, secret, PAYLOAD);
    fails(&run(&["sign"], ""), 2, "there is no secret: set HOOKLEDGER_WEBHOOK_SECRET, or give --secret-file");
    fails(&run(&["verify"], ""), 2, "there is no secret");
    fails(&run(&["sign"], "whsec_!"), 2, "HOOKLEDGER_WEBHOOK_SECRET: the secret begins with whsec_");
    fails(&run(&["sign", "--secret", SECRET], SECRET), 2, "unexpected argument '--secret'");
    fails(&run(&["sign", "--id", "msg.1"], SECRET), 2, "an id is visible ASCII without a dot");
    fails(&run(&["sign", "--timestamp", "-1"], SECRET), 2, "unexpected argument '-1'");
    fails(&run(&["sign", "no such file"], SECRET), 2, "no such file: ");
    fails(&run(&["sign", "--secret-file", "/dev/null"], SECRET), 2, "/dev/null: there is no secret in it");
    fails(&run(&["verify", "-H", "no colon"], SECRET), 2, "is no header like");
    fails(&run(&["verify", "--headers-file", "no such file"], SECRET), 2, "no such file: ");
    fails(&run(&["verify"], SECRET), 1, "not genuine: the header webhook-id is missing");
    fails(&run(&["listen", "--status", "100"], SECRET), 2, "--status");
    fails(&run(&["listen", "--delay", "2"], SECRET), 2, "a time is written like 2s or 500ms");
    fails(&run(&["listen", "--port", "9", "--listen", "127.0.0.1:9"], SECRET), 2, "cannot be used with");
}

/// A running `hookledger listen`.
struct Listen {
    child: Child,
    url: String,
    lines: Channel<String>,
}

impl Listen {
    fn start(arguments: &[&str], secret: &str) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["listen", "--port", "0"]).args(arguments).env(VARIABLE, secret);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.strip_prefix("listening on ").and_then(|rest| rest.split(',').next()).expect("it says where");
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, url: url.to_owned(), lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("it prints a line")
    }

    /// Sends one attempt of a delivery, and gives the answer's status.
    fn attempt(&self, id: &str, attempt: u32) -> u16 {
        let timestamp = SystemClock.now().as_seconds();
        let message = Message { id, timestamp, event: "completed", attempt, body: br#"{"id": "batch_1"}"# };
        let signed = headers(&message, &[Secret::new(SECRET).unwrap()]);
        let mut request = client().post(&self.url);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        request.send(message.body).unwrap().status().as_u16()
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn listen_verifies_and_fails_the_first_attempts_of_each_delivery() {
    let listen = Listen::start(&["--fail", "2"], SECRET);
    assert!(listen.url.starts_with("http://127.0.0.1:"), "loopback, unless told otherwise");
    let answers: Vec<u16> = (1..=3).map(|n| listen.attempt("msg_a", n)).collect();
    assert_eq!(answers, [500, 500, 200]);
    assert_eq!(listen.attempt("msg_b", 1), 500);
    let line = listen.line();
    assert!(line.ends_with("  500  completed batch_1, attempt 1, msg_a: verified"), "{line}");
    assert_eq!(client().post(&listen.url).send("{}").unwrap().status(), 401);
    let line = listen.lines.iter().nth(3).unwrap();
    assert!(line.ends_with("  401  ? ?, attempt ?, ?: REFUSED: the header webhook-id is missing"), "{line}");
    assert_eq!(client().get(&listen.url).call().unwrap().status(), 405);
}

#[test]
fn listen_prints_json_and_answers_late_with_what_it_is_told_to() {
    let listen = Listen::start(&["--json", "--status", "410", "--delay", "300ms"], SECRET);
    let watch = Stopwatch::start();
    assert_eq!(listen.attempt("msg_a", 7), 410);
    assert!(watch.elapsed() >= Duration::from_millis(300));
    let printed: Value = serde_json::from_str(&listen.line()).unwrap();
    let at = &printed["received_at"];
    assert_eq!(
        printed,
        json!({"received_at": at, "webhook_id": "msg_a", "event": "completed", "attempt": 7, "verified": true,
               "error": null, "answered": 410, "body": {"id": "batch_1"}})
    );
}

#[test]
fn listen_takes_everything_without_a_secret_and_refuses_what_another_one_signed() {
    let open = Listen::start(&[], "");
    assert_eq!(open.attempt("msg_a", 1), 200);
    assert!(open.line().ends_with("msg_a: not verified"));
    let other = Listen::start(&[], "another secret");
    assert_eq!(other.attempt("msg_a", 1), 401);
    assert!(other.line().ends_with("msg_a: REFUSED: no signature matches"));
}

/// What the README shows: the server on one side, this on the other.
#[test]
fn listen_receives_what_the_server_sends() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_with(directory.path(), &[(VARIABLE, SECRET)]);
    let listen = Listen::start(&["--fail", "1", "--scheme", "github"], SECRET);
    let job = json!({"id": "one", "webhook": {"url": listen.url}});
    let send = |method: &str, path: &str, body: &Value| {
        let request = ureq::http::Request::builder().method(method).uri(server.url(path));
        let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
        assert_eq!(client().run(request).unwrap().status(), 200);
    };
    send("POST", "/v1/batches", &job);
    send("PATCH", "/v1/batches/one", &json!({"status": "completed"}));
    for (attempt, answer) in [(1, 500), (2, 200)] {
        let line = listen.line();
        assert!(line.contains(&format!("  {answer}  completed one, attempt {attempt}, msg_")), "{line}");
        assert!(line.ends_with(": verified"), "{line}");
    }
}
