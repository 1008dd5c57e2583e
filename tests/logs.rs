//! What is logged: the lines of one story, and that the page lists every line there is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

use processes::{Server, client};
use serde_json::{Value, json};
use tiny_http::Response;

/// What must not be found in any line.
const UNTOLD: [&str; 4] =
    ["must-never-be-a-secret-told", "must-never-be-a-query", "must-never-be-a-payload", "must-never-be-an-answer"];

const KEY: &str = "a-key-that-must-never-be-told-either";

/// A line of the log as the source has it: level and message, and the fields that it may carry.
type Lines = BTreeMap<(String, String), BTreeSet<String>>;

/// Every line stands in the table of the page with its fields, and none stands there that doesn't exist.
#[test]
fn every_line_is_documented() {
    let mut made = Lines::new();
    collect(Path::new("src"), &mut made);
    assert!(made.len() > 40, "the lines are found: {made:?}");
    let page = std::fs::read_to_string("docs/logs.md").unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, level, message, fields, _, _] = cells[..] else { return None };
        let fields = fields.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
        ["error", "warn", "info", "debug"].contains(&level).then(|| ((level.to_owned(), message.to_owned()), fields))
    };
    let documented: Lines = page.lines().filter_map(row).collect();
    let missing: Vec<_> = made.iter().filter(|(line, fields)| documented.get(*line) != Some(fields)).collect();
    let obsolete: Vec<_> = documented.keys().filter(|line| !made.contains_key(*line)).collect();
    assert!(missing.is_empty() && obsolete.is_empty(), "not documented: {missing:#?}; documented only: {obsolete:#?}");
}

/// A delivery that fails, is tried again, dies, and is retried; and somebody with a wrong key. At `debug` the engine has a line
/// for each step; the API has one for what was asked for by hand.
#[test]
fn one_delivery_can_be_followed() {
    let receiver = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/hook?token={}", receiver.server_addr(), UNTOLD[1]);
    thread::spawn(move || {
        for (place, request) in receiver.incoming_requests().enumerate() {
            let response = Response::from_string(UNTOLD[3]).with_status_code(if place < 2 { 500 } else { 200 });
            let _ = request.respond(response);
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let mut serve = processes::command();
    serve.args([
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--backoff-base",
        "10ms",
        "--pause-after",
        "2",
    ]);
    serve.args(["--log-level", "info,hookledger::engine=debug", "--data-dir"]).arg(directory.path());
    let server = Server::run(serve.env("HOOKLEDGER_API_KEYS", KEY));
    let send = |method: &str, path: &str, key: &str, body: &Value| {
        let request = ureq::http::Request::builder().method(method).uri(server.url(path));
        let request = request.header("content-type", "application/json").header("x-request-id", "the-story-s");
        let request = request.header("authorization", format!("Bearer {key}")).body(body.to_string()).unwrap();
        client().run(request).unwrap().status().as_u16()
    };
    let webhook = json!({"url": hook, "secret": UNTOLD[0], "max_retries": 2});
    let job = json!({"id": "story", "metadata": {"note": UNTOLD[2]}, "webhook": webhook});
    assert_eq!(send("POST", "/v1/batches", KEY, &job), 200);
    assert_eq!(send("PATCH", "/v1/batches/story", KEY, &json!({"status": "completed"})), 200);
    let mut lines = server.first_lines.clone();
    lines.extend(server.lines_until("it is a dead letter"));
    assert_eq!(send("GET", "/v1/batches?limit=1", "wrong", &json!({})), 401);
    assert_eq!(send("GET", "/v1/batches?limit=2", "wrong", &json!({})), 401);
    assert_eq!(send("POST", "/v1/webhooks/dead-letter/1/retry", KEY, &json!({})), 200);
    lines.extend(server.last_lines());

    let told = lines.join("\n");
    for untold in UNTOLD.iter().chain([&KEY, &"wrong"]) {
        assert!(!told.contains(untold), "{untold} in\n{told}");
    }
    let lines: Vec<_> =
        lines.iter().filter(|line| !line.contains("a commit was slow")).map(|line| redacted(line)).collect();
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("log_of_a_story", lines.join("\n"));
    });
}

/// A line without what differs from run to run.
fn redacted(line: &str) -> String {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let at = line["timestamp"].as_str().unwrap();
    assert!(at.len() == 27 && at.ends_with('Z') && at.as_bytes()[10] == b'T', "RFC 3339, UTC, microseconds: {at}");
    for (name, value) in line.as_object_mut().unwrap() {
        let varies = [
            "timestamp",
            "version",
            "address",
            "data_dir",
            "delivery_id",
            "destination",
            "duration_ms",
            "retry_at",
            "until",
        ];
        if varies.contains(&&**name) && !value.is_null() {
            *value = format!("[{name}]").into();
        }
    }
    line.to_string()
}

fn collect(path: &Path, made: &mut Lines) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), made);
        }
        return;
    }
    let source = std::fs::read_to_string(path).unwrap();
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    for (at, start) in source.match_indices("tracing::") {
        let rest = &source[at + start.len()..];
        let Some((level, rest)) = rest.split_once("!(") else { continue };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let (fields, message) = arguments(rest);
        made.entry((level.to_owned(), message)).or_default().extend(fields);
    }
}

/// The fields of a macro's arguments, and its message, which is a literal and the last of them.
fn arguments(text: &str) -> (Vec<String>, String) {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 1, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        match c {
            _ if depth == 0 => break,
            ',' if depth == 1 && !quoted => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let mut parts: Vec<_> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    let message = parts.pop().unwrap().trim_matches('"').to_owned();
    let name = |part: &str| part.split('=').next().unwrap().trim().trim_matches(['%', '?']).to_owned();
    (parts.into_iter().map(name).collect(), message)
}
