//! The README's five minutes, as a user would go through them: the server's binary, the Python receiver, a kill, a dead
//! letter and its retry. An independent implementation (Python's standard library) verifies every request.
//!
//! Needs `python3`; without it this says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver as Channel};
use std::thread;

use processes::{PATIENCE, Server, client, closed_port};
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// `examples/receiver.py`, and what it prints.
struct Python {
    child: Child,
    lines: Channel<String>,
}

impl Python {
    fn start(port: u16, fail: u32) -> Option<(Self, String)> {
        let mut child = Command::new("python3")
            .args(["examples/receiver.py", "--port", &port.to_string(), "--fail", &fail.to_string()])
            .env("WEBHOOK_SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || out.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let python = Self { child, lines };
        let url = python.line().strip_prefix("listening on ").expect("it says where").to_owned();
        Some((python, url))
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the receiver prints a line")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(method: &str, url: &str, body: Option<&Value>) -> (u16, Value) {
    let request = ureq::http::Request::builder().method(method).uri(url);
    let mut answer = match body {
        Some(body) => {
            let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
            client().run(request).unwrap()
        }
        None => client().run(request.body(()).unwrap()).unwrap(),
    };
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
}

fn complete(server: &Server, id: &str, hook: &str, more: &Value) {
    let mut webhook = json!({"url": hook, "secret": SECRET});
    webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({"id": id, "metadata": {"who": "grüße \u{7f} 😀"}, "webhook": webhook});
    assert_eq!(send("POST", &server.url("/v1/batches"), Some(&body)).0, 200);
    let (status, batch) =
        send("PATCH", &server.url(&format!("/v1/batches/{id}")), Some(&json!({"status": "completed"})));
    assert_eq!((status, &batch["status"]), (200, &json!("completed")));
}

#[test]
fn the_five_minutes_of_the_readme() {
    let Some((python, hook)) = Python::start(0, 2) else {
        println!("SKIPPED: python3 is not installed, so no foreign receiver has verified a request");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    complete(&server, "my-first-job", &hook, &json!({}));
    for (attempt, status, note) in [(1, 500, ", failing on purpose"), (2, 500, ", failing on purpose"), (3, 200, "")] {
        let line = python.line();
        assert!(line.starts_with(&format!("{status} completed my-first-job attempt {attempt} msg_")), "{line}");
        assert!(line.ends_with(&format!(" verified{note}")), "{line}");
    }
    let (_, history) = send("GET", &server.url("/v1/batches/my-first-job/history"), None);
    let types: Vec<&str> = history["data"].as_array().unwrap().iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!(types[..4], ["job_registered", "job_transitioned", "delivery_scheduled", "attempt_started"]);

    // The receiver is down: the one attempt that is allowed makes a dead letter. The server is killed and started again.
    let port = closed_port();
    complete(&server, "doomed", &format!("http://127.0.0.1:{port}/"), &json!({"max_retries": 1}));
    let letter = server.url("/v1/webhooks/dead-letter/1");
    while send("GET", &letter, None).0 == 404 {
        thread::yield_now();
    }
    server.kill();
    let server = Server::start(directory.path());
    let letter = server.url("/v1/webhooks/dead-letter/1");
    let (_, shown) = send("GET", &letter, None);
    assert_eq!(
        (&shown["batch_id"], &shown["attempts"], &shown["retry_success"]),
        (&json!("doomed"), &json!(1), &Value::Null)
    );
    assert!(shown["error_message"].as_str().unwrap().starts_with("connect:"), "{shown}");

    let (python, _) = Python::start(port, 0).unwrap();
    let retry = server.url("/v1/webhooks/dead-letter/1/retry");
    let (status, retried) = send("POST", &retry, None);
    assert_eq!((status, &retried["retry_success"]), (200, &json!(true)), "{retried}");
    let (status, refused) = send("POST", &retry, None);
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("already_retried")));
    let (status, forced) = send("POST", &format!("{retry}?force=true"), None);
    assert_eq!((status, &forced["forced"]), (200, &json!(true)));
    for attempt in [2, 3] {
        let line = python.line();
        assert!(line.starts_with(&format!("200 completed doomed attempt {attempt} msg_")), "{line}");
    }
    assert!(python.lines.try_recv().is_err(), "the refused retry has sent nothing");
    assert!(server.terminate().success());

    let replay = |arguments: &[&str]| {
        let mut command = processes::command();
        command.args(["replay", "--data-dir"]).arg(directory.path()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(replay(&[]).contains("2 batches, 2 deliveries, 1 dead letters"));
    assert!(
        replay(&["--at", "1"]).contains("my-first-job             validating   version 1"),
        "{}",
        replay(&["--at", "1"])
    );
}
