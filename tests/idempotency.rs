//! Idempotency keys and `kill -9`: what was answered is answered again, and what was asked for twice is there once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use hookledger::domain::event::Event;
use hookledger::domain::id::Seq;
use hookledger::engine::replay::{differences, rebuild};
use hookledger::log::EventLog;
use hookledger::log::sled::SledLog;
use processes::{PATIENCE, Server, client};
use serde_json::{Value, json};

/// How often the server is killed under load.
const KILLS: usize = 3;
const WRITERS: usize = 8;

/// An answer as far as it is to be the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    etag: Option<String>,
    body: String,
    replayed: bool,
}

/// Asks under a key; `None` when the server is gone.
fn ask(agent: &ureq::Agent, url: &str, key: &str, body: &Value) -> Option<Answer> {
    let mut answer = agent.post(url).header("Idempotency-Key", key).send_json(body).ok()?;
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, etag) = (answer.status().as_u16(), header("etag"));
    let replayed = header("idempotent-replayed").as_deref() == Some("true");
    Some(Answer { status, etag, body: answer.body_mut().read_to_string().ok()?, replayed })
}

#[test]
fn what_was_answered_is_answered_again_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let agent = client();
    let large: BTreeMap<String, String> = (0..16).map(|n| (n.to_string(), "\u{1}".repeat(512))).collect();
    let requests = [
        ("create", "/v1/batches", json!({"priority": 1}), 200),
        ("large", "/v1/batches", json!({"id": "large", "metadata": large}), 200),
        ("cancel", "/v1/batches/large/cancel", json!({}), 200),
        ("missing", "/v1/batches/missing/cancel", json!({}), 404),
        ("taken", "/v1/batches", json!({"id": "large"}), 409),
        ("none", "/v1/webhooks/dead-letter/purge", json!({"resolved": false}), 200),
    ];
    let first: Vec<Answer> = requests
        .iter()
        .map(|(key, path, body, status)| {
            let answer = ask(&agent, &server.url(path), key, body).unwrap();
            assert_eq!((answer.status, answer.replayed), (*status, false), "{answer:?}");
            answer
        })
        .collect();
    server.kill();
    let server = Server::start(directory.path());
    for ((key, path, body, _), first) in requests.iter().zip(first) {
        let again = ask(&agent, &server.url(path), key, body).unwrap();
        assert_eq!(again, Answer { replayed: true, ..first });
    }
    let other = ask(&agent, &server.url("/v1/batches"), "create", &json!({"priority": 0})).unwrap();
    assert_eq!(other.status, 422, "{other:?}");
    assert!(server.terminate().success());
    let log = SledLog::open(directory.path()).unwrap();
    assert_eq!(log.tail(), Seq(3), "two registrations and one transition");
}

/// What a writer has asked for: every key, and the answer where there was one.
type Asked = BTreeMap<String, Option<Answer>>;

/// Ids are the server's own, so that nothing but the key says that two requests are one.
fn body(key: &str) -> Value {
    json!({"metadata": {"key": key}, "status": "in_progress"})
}

fn write_until_killed(server: Server, kill: usize, enough: usize, asked: &Mutex<Asked>) {
    let (url, answered) = (server.url("/v1/batches"), AtomicUsize::new(0));
    let (reached, is_reached) = mpsc::channel();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (url, answered, reached) = (&url, &answered, reached.clone());
            scope.spawn(move || {
                let agent = client();
                for n in 0.. {
                    let key = format!("{kill}-{writer}-{n}");
                    asked.lock().unwrap().insert(key.clone(), None);
                    let Some(answer) = ask(&agent, url, &key, &body(&key)) else { return };
                    assert_eq!((answer.status, answer.replayed), (200, false), "{answer:?}");
                    asked.lock().unwrap().insert(key, Some(answer));
                    if answered.fetch_add(1, Ordering::SeqCst) + 1 == enough {
                        reached.send(()).unwrap();
                    }
                }
            });
        }
        is_reached.recv_timeout(PATIENCE).expect("so many are answered");
        server.kill();
    });
}

#[test]
fn a_key_that_is_repeated_after_a_kill_has_made_one_batch() {
    let directory = tempfile::tempdir().unwrap();
    let asked = Mutex::new(Asked::new());
    let (mut random, mut unanswered) = (0x2545_f491_4f6c_dd1d_u64, 0);
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let enough = 40 + usize::try_from((random >> 33) % 300).unwrap();
        write_until_killed(Server::start(directory.path()), kill, enough, &asked);
    }
    let server = Server::start(directory.path());
    let (agent, url) = (client(), server.url("/v1/batches"));
    let asked = asked.into_inner().unwrap();
    let mut ids = BTreeSet::new();
    for (key, before) in &asked {
        let again = ask(&agent, &url, key, &body(key)).unwrap();
        assert_eq!(again.status, 200, "{again:?}");
        match before {
            Some(before) => assert_eq!(again, Answer { replayed: true, ..before.clone() }, "{key}"),
            None => unanswered += 1,
        }
        let batch: Value = serde_json::from_str(&again.body).unwrap();
        assert_eq!(batch["metadata"]["key"], key.as_str());
        assert!(ids.insert(batch["id"].as_str().unwrap().to_owned()), "a batch for each key");
    }
    assert!(server.terminate().success());
    println!("{} keys, {unanswered} of them without an answer before", asked.len());

    let log = SledLog::open(directory.path()).unwrap();
    let (reader, mut registered) = (log.reader(), BTreeMap::<String, usize>::new());
    for event in reader.events(Seq::ZERO, usize::MAX).unwrap() {
        if let Event::JobRegistered { spec, .. } = &event.event {
            *registered.entry(spec.metadata["key"].clone()).or_default() += 1;
        }
    }
    assert!(registered.values().all(|times| *times == 1), "{registered:?}");
    assert_eq!(registered.keys().collect::<Vec<_>>(), asked.keys().collect::<Vec<_>>());
    let state = rebuild(&*reader, log.tail()).unwrap();
    assert_eq!(state.jobs().map(|job| job.id.to_string()).collect::<BTreeSet<_>>(), ids);
    assert!(differences(&state, &*reader).unwrap().is_empty());
}
