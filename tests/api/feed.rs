//! The log as a feed, and a batch as of any position of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hookledger::domain::batch::BatchObject;
use hookledger::domain::id::{JobId, Seq};
use hookledger::engine::replay::rebuild;
use hookledger::log::EventLog;
use serde_json::{Value, json};

use crate::fixture::{Answer, Api, AtWork, HOOK, PATIENCE, SECRET};

fn read(api: &Api, query: &str) -> Value {
    api.get(&format!("/v1/log?{query}")).expect(200).body
}

fn seqs(feed: &Value) -> Vec<u64> {
    feed["data"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// The answer that has no event.
fn nothing(api: &Api, last_seq: u64, head: u64) -> Value {
    let head_hash = api.log.reader().head().hash.to_string();
    json!({
        "object": "list", "data": [], "last_seq": last_seq, "head": head, "head_hash": head_hash, "horizon": 0,
        "has_more": false,
    })
}

#[test]
fn an_empty_log_is_an_empty_feed() {
    let api = Api::start();
    assert_eq!(read(&api, ""), nothing(&api, 0, 0));
    assert_eq!(read(&api, "after=7"), nothing(&api, 7, 0));
}

#[test]
fn it_is_what_the_histories_are_in_one() {
    let api = Api::start();
    api.dead_letter("a");
    api.dead_letter("b");
    let feed = read(&api, "");
    let of = |id: &str| api.get(&format!("/v1/batches/{id}/history")).body["data"].as_array().unwrap().clone();
    let mut all = [of("a"), of("b")].concat();
    all.sort_by_key(|event| event["seq"].as_u64());
    assert_eq!(feed["data"], json!(all));
    let head = all.len();
    assert_eq!((&feed["last_seq"], &feed["head"], &feed["has_more"]), (&json!(head), &json!(head), &json!(false)));
    for limit in 1..=head + 1 {
        let mut walked = Vec::new();
        for after in (0..head).step_by(limit) {
            let page = read(&api, &format!("after={after}&limit={limit}"));
            walked.extend(page["data"].as_array().unwrap().clone());
            assert_eq!((&page["last_seq"], &page["has_more"]), (&json!(walked.len()), &json!(walked.len() < head)));
        }
        assert_eq!(walked, all, "by {limit}");
    }
    assert_eq!(seqs(&read(&api, &format!("after={}", head - 1))), [head as u64]);
    assert_eq!(seqs(&read(&api, &format!("after={head}"))), Vec::<u64>::new());
    assert_eq!(seqs(&read(&api, &format!("after={}", i64::MAX))), Vec::<u64>::new());
}

#[test]
fn readers_see_every_event_in_order_while_writers_run() {
    const BATCHES: usize = 60;
    let api = Api::start();
    let writing = AtomicUsize::new(3);
    let follow = |query: &str| {
        let mut seen = Vec::new();
        loop {
            let done = writing.load(Ordering::SeqCst) == 0;
            let after = seen.len();
            let page = read(&api, &format!("after={after}&{query}"));
            let (last, head) = (page["last_seq"].as_u64().unwrap(), page["head"].as_u64().unwrap());
            let more = page["has_more"].as_bool().unwrap();
            assert!(last <= head && more == (last < head), "{last}, {head}, {more}");
            assert_eq!(seqs(&page), (after as u64 + 1..=last).collect::<Vec<_>>(), "without gaps");
            seen.extend(page["data"].as_array().unwrap().clone());
            if done && !more {
                return seen;
            }
        }
    };
    let all = thread::scope(|scope| {
        for writer in 0..3 {
            let (api, writing) = (&api, &writing);
            scope.spawn(move || {
                let _at_work = AtWork(writing);
                for n in 0..BATCHES {
                    let webhook = json!({"url": HOOK});
                    let body = json!({"id": format!("w{writer}-{n}"), "webhook": webhook, "status": "completed"});
                    api.post("/v1/batches", &body).expect(200);
                }
            });
        }
        let readers = ["limit=7", "limit=1000", "limit=3&wait=1"].map(|query| scope.spawn(move || follow(query)));
        readers.map(|reader| reader.join().unwrap())
    });
    for seen in &all {
        let shortest = all.iter().map(Vec::len).min().unwrap();
        assert_eq!(seen[..shortest], all[0][..shortest]);
        let registered = seen.iter().filter(|event| event["type"] == "job_registered").count();
        assert_eq!(registered, 3 * BATCHES);
    }
}

/// A question that waits, asked on a connection of its own.
struct Waiting(BufReader<TcpStream>);

impl Waiting {
    /// Asks when an earlier question on the same connection was answered: this one has arrived with it.
    fn ask(api: &Api, after: u64) -> Self {
        let mut socket = TcpStream::connect(api.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let waiting =
            format!("GET /v1/log?after={after}&wait=30 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(format!("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n{waiting}").as_bytes()).unwrap();
        let (mut reader, mut first) = (BufReader::with_capacity(1, socket), Vec::new());
        while !first.ends_with(b"}") {
            assert_ne!(reader.read_until(b'}', &mut first).unwrap(), 0);
        }
        Self(reader)
    }

    fn is_answered(&mut self) -> bool {
        self.0.get_ref().set_nonblocking(true).unwrap();
        let answered = self.0.fill_buf().is_ok();
        self.0.get_ref().set_nonblocking(false).unwrap();
        answered
    }

    fn answer(self) -> Value {
        let mut lines = self.0.lines().map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
        let body: String = lines.skip_while(|line| !line.is_empty()).collect();
        serde_json::from_str(&body).unwrap()
    }
}

#[test]
fn whoever_waits_is_woken_by_the_next_event() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "first"})).expect(200);
    let answers: Vec<Value> = thread::scope(|scope| {
        let watch = hookledger::clock::Stopwatch::start();
        let mut waiting: Vec<_> = (0..3).map(|_| Waiting::ask(&api, 1)).collect();
        let mut behind = Waiting::ask(&api, 2);
        // Reading what is there waits for nothing, and neither do others.
        assert_eq!(seqs(&read(&api, "after=0&wait=30")), [1]);
        assert_eq!(api.get("/v1/log?after=1").expect(200).body["data"], json!([]));
        assert!(waiting.iter_mut().all(|one| !one.is_answered()));
        api.post("/v1/batches", &json!({"id": "second"})).expect(200);
        let answers = waiting.into_iter().map(|one| scope.spawn(|| one.answer())).collect::<Vec<_>>();
        let answers = answers.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(watch.elapsed().as_secs() < 30, "not by the end of the time");
        assert!(!behind.is_answered(), "it waits for the one after that");
        api.post("/v1/batches", &json!({"id": "third"})).expect(200);
        assert_eq!(seqs(&behind.answer()), [3]);
        answers
    });
    for answer in answers {
        assert_eq!((seqs(&answer), &answer["last_seq"], &answer["head"]), (vec![2], &json!(2), &json!(2)));
    }
}

#[test]
fn whoever_waits_for_nothing_is_told_so_in_the_end() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "only"})).expect(200);
    let answer = read(&api, "after=1&wait=1");
    assert_eq!(answer, nothing(&api, 1, 1));
}

#[test]
fn the_end_of_the_server_or_of_the_engine_wakes_whoever_waits() {
    for is_engine in [false, true] {
        let mut api = Api::start();
        api.post("/v1/batches", &json!({"id": "only"})).expect(200);
        let watch = hookledger::clock::Stopwatch::start();
        let waiting = Waiting::ask(&api, 1);
        // The server has taken the question when it has answered a later one.
        api.get("/health").expect(200);
        if is_engine {
            api.end_engine();
        } else {
            api.stop();
        }
        let answer = waiting.answer();
        assert_eq!(answer, nothing(&api, 1, 1));
        assert!(watch.elapsed().as_secs() < 30, "not by the end of the time");
    }
}

#[test]
fn secrets_are_not_in_it() {
    let api = Api::start();
    api.dead_letter("s");
    let webhook = json!({"url": HOOK, "secret": "must-never-be-seen"});
    api.post("/v1/batches", &json!({"id": "t", "webhook": webhook})).expect(200);
    let answer: Answer = api.get("/v1/log").expect(200);
    assert!(!answer.text.contains("must-never") && !answer.text.contains(SECRET) && !answer.text.contains("secret"));
    let registered = answer.body["data"].as_array().unwrap().iter().filter(|event| event["type"] == "job_registered");
    assert!(registered.into_iter().all(|event| event["spec"]["webhook"]["signed"] == true));
}

#[test]
fn what_is_asked_for_is_checked() {
    let api = Api::start();
    for (query, param, code) in [
        ("after=-1", "after", "invalid_parameter"),
        ("after=x", "after", "invalid_parameter"),
        ("after=18446744073709551616", "after", "invalid_parameter"),
        ("limit=0", "limit", "invalid_parameter"),
        ("limit=1001", "limit", "invalid_parameter"),
        ("wait=31", "wait", "invalid_parameter"),
        ("wait=0.5", "wait", "invalid_parameter"),
        ("seq=1", "seq", "unknown_parameter"),
    ] {
        api.get(&format!("/v1/log?{query}")).expect_problem(422, code, param);
    }
}

#[test]
fn a_batch_is_shown_as_it_was_at_every_position() {
    let api = Api::start();
    let webhook = json!({"url": HOOK, "secret": SECRET, "events": ["progress", "completed"], "max_retries": 1});
    api.post("/v1/batches", &json!({"id": "before"})).expect(200);
    api.post("/v1/batches", &json!({"id": "b", "webhook": webhook, "request_counts": {"total": 9}})).expect(200);
    for completed in 1..=8 {
        let status = if completed < 4 { "validating" } else { "in_progress" };
        let report = json!({"status": status, "request_counts": {"completed": completed}});
        api.patch("/v1/batches/b", &report).expect(200);
        api.patch("/v1/batches/before", &json!({"request_counts": {"completed": completed}})).expect(200);
        api.transport.next();
        api.until("/v1/batches/b", |batch| batch["webhook_status"] == "failed");
    }
    api.transport.status.store(200, Ordering::SeqCst);
    api.patch("/v1/batches/b", &json!({"status": "completed", "output_file_id": "out"})).expect(200);
    api.until("/v1/batches/b", |batch| batch["webhook_status"] == "sent");
    api.post_nothing("/v1/webhooks/dead-letter/1/retry").expect(200);
    api.delete("/v1/webhooks/dead-letter/2").expect(200);

    let reader = api.log.reader();
    let head = reader.tail().0;
    assert!(head > 50, "{head}");
    let id = JobId::new("b").unwrap();
    let mut different = 0;
    let mut last = Value::Null;
    for at in 0..=head {
        let state = rebuild(&*reader, Seq(at)).unwrap();
        let answer = api.get(&format!("/v1/batches/b?at={at}"));
        match state.job(&id) {
            None => drop(answer.expect_problem(404, "not_found", Value::Null).to_owned()),
            Some(job) => {
                let expected = serde_json::to_value(BatchObject::from(job)).unwrap();
                let answer = answer.expect(200);
                assert_eq!((&answer.body, answer.header("etag")), (&expected, None), "at {at}");
                different += usize::from(last != expected);
                last = expected;
            }
        }
    }
    assert!(different > 30, "{different}");
    assert_eq!(api.get("/v1/batches/b").body, last);
    for beyond in [head + 1, i64::MAX.unsigned_abs()] {
        api.get(&format!("/v1/batches/b?at={beyond}")).expect_problem(422, "invalid_parameter", "at");
    }
    api.get("/v1/batches/b?at=1").expect_problem(404, "not_found", Value::Null);
    api.get("/v1/batches/nobody?at=1").expect_problem(404, "not_found", Value::Null);
    api.get("/v1/batches/b?at=-1").expect_problem(422, "invalid_parameter", "at");
    api.get("/v1/batches/b?at=").expect_problem(422, "invalid_parameter", "at");
}

#[test]
fn a_page_is_bounded_in_bytes_too() {
    let api = Api::start();
    let metadata: serde_json::Map<_, _> =
        (0..16).map(|n| (format!("{n:02}{}", "k".repeat(62)), Value::String("\u{1d11e}".repeat(512)))).collect();
    for n in 0..40 {
        api.post("/v1/batches", &json!({"id": format!("large-{n}"), "metadata": metadata})).expect(200);
    }
    let (mut after, mut pages, mut seen) = (0, 0, 0);
    loop {
        let page = api.get(&format!("/v1/log?limit=1000&after={after}")).expect(200).body;
        assert!(page.to_string().len() < 3 * 1024 * 1024);
        seen += page["data"].as_array().unwrap().len();
        (after, pages) = (page["last_seq"].as_u64().unwrap(), pages + 1);
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!((seen, pages), (40, 2));
}
