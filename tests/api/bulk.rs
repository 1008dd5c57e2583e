//! Many dead letters at once: retried and purged by filter.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use hookledger::log::EventLog;
use serde_json::{Value, json};

use crate::fixture::{Api, HOOK};

const LETTERS: &str = "/v1/webhooks/dead-letter";
const RETRY: &str = "/v1/webhooks/dead-letter/retry";
const PURGE: &str = "/v1/webhooks/dead-letter/purge";

/// Makes dead letters of new batches, all at once.
fn dead_letters(api: &Api, batches: impl Iterator<Item = (String, &'static str, &'static str)>) {
    api.transport.status.store(500, Ordering::SeqCst);
    let before = total(api, "");
    let mut made = 0;
    for (id, status, url) in batches {
        api.post("/v1/batches", &json!({"id": id, "status": status, "webhook": {"url": url}})).expect(200);
        made += 1;
    }
    (0..made).for_each(|_| drop(api.transport.next()));
    api.until(LETTERS, |list| list["total"] == before + made);
}

fn total(api: &Api, query: &str) -> u64 {
    api.get(&format!("{LETTERS}?{query}")).expect(200).body["total"].as_u64().unwrap()
}

fn few(api: &Api) {
    let all = [
        ("a", "completed", HOOK),
        ("b", "failed", HOOK),
        ("c", "completed", "https://other.example/"),
        ("d", "cancelled", "https://other.example/?q=1"),
    ];
    // One after another, so that their times are in order.
    for (id, status, url) in all {
        dead_letters(api, [(id.to_owned(), status, url)].into_iter());
    }
}

/// What retries have sent, when they have all ended.
fn retried(api: &Api) -> BTreeSet<String> {
    for status in ["pending", "in_flight"] {
        api.until(&format!("/v1/webhooks/deliveries?status={status}"), |list| list["first_id"].is_null());
    }
    let sent: Vec<String> = api.transport.attempts.lock().unwrap().try_iter().collect();
    let ids: BTreeSet<_> = sent
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), sent.len(), "each once");
    ids
}

/// Filters, and the batches that they mean.
fn filters(api: &Api) -> Vec<(Value, Vec<&'static str>)> {
    let third = api.get(&format!("{LETTERS}/3")).body["created_at"].clone();
    vec![
        (json!({"batch_id": "b"}), vec!["b"]),
        (json!({"batch_id": "nobody"}), vec![]),
        (json!({"event": "completed"}), vec!["a", "c"]),
        (json!({"event": "batch.cancelled"}), vec!["d"]),
        (json!({"url": HOOK}), vec!["a", "b"]),
        (json!({"url": "https://other.example/"}), vec!["c"]),
        (json!({"url": HOOK, "event": "failed"}), vec!["b"]),
        (json!({"url": HOOK, "batch_id": "c"}), vec![]),
        (json!({"resolved": false}), vec!["a", "b", "c", "d"]),
        (json!({"resolved": true}), vec![]),
        (json!({"since": third}), vec!["c", "d"]),
        (json!({"until": third}), vec!["a", "b"]),
        (json!({"since": third, "until": "2999-01-01T00:00:00Z", "event": "completed"}), vec!["c"]),
        (json!({"since": "2999-01-01T00:00:00Z"}), vec![]),
        (json!({"batch_id": "a", "event": null, "url": null, "resolved": null, "since": null}), vec!["a"]),
    ]
}

fn with(filter: &Value, name: &str, value: bool) -> Value {
    let mut filter = filter.clone();
    filter[name] = value.into();
    filter
}

#[test]
fn a_retry_takes_what_its_filter_means_and_a_dry_run_says_so_before() {
    let api = Api::start();
    few(&api);
    retried(&api);
    for (filter, batches) in filters(&api) {
        let before = api.log.reader().tail();
        let expected = json!({"matched": batches.len(), "queued": batches.len(), "skipped": 0});
        assert_eq!(api.post(RETRY, &with(&filter, "dry_run", true)).expect(202).body, expected, "{filter}");
        assert_eq!(api.log.reader().tail(), before, "nothing has happened");
        assert_eq!(retried(&api), BTreeSet::new());
        assert_eq!(api.post(RETRY, &with(&filter, "dry_run", false)).expect(202).body, expected, "{filter}");
        assert_eq!(retried(&api), batches.into_iter().map(String::from).collect(), "{filter}");
    }
    assert_eq!(total(&api, "resolved=false"), 4, "each attempt failed, and made no second one");
}

#[test]
fn a_purge_takes_what_its_filter_means_and_a_dry_run_says_so_before() {
    let count = Api::start();
    few(&count);
    for (n, _) in filters(&count).into_iter().enumerate() {
        let api = Api::start();
        few(&api);
        let (filter, batches) = filters(&api).swap_remove(n);
        let deleted = json!({"deleted": batches.len()});
        assert_eq!(api.post(PURGE, &with(&filter, "dry_run", true)).expect(200).body, deleted, "{filter}");
        assert_eq!(total(&api, ""), 4);
        assert_eq!(api.post(PURGE, &filter).expect(200).body, deleted, "{filter}");
        let list = api.get(LETTERS).body;
        let left: BTreeSet<_> =
            list["data"].as_array().unwrap().iter().map(|letter| letter["batch_id"].as_str().unwrap()).collect();
        let all = BTreeSet::from(["a", "b", "c", "d"]);
        assert_eq!(left, all.difference(&batches.into_iter().collect()).copied().collect(), "{filter}");
        assert_eq!(api.post(PURGE, &filter).expect(200).body, json!({"deleted": 0}));
    }
}

#[test]
fn what_is_delivered_or_on_its_way_is_passed_over() {
    let api = Api::start();
    few(&api);
    api.transport.status.store(200, Ordering::SeqCst);
    api.post_nothing(&format!("{LETTERS}/1/retry")).expect(200);
    retried(&api);
    let all = json!({"until": "2999-01-01T00:00:00Z"});
    let ask = |filter: &Value, force: bool| {
        let filter = with(filter, "force", force);
        let dry = api.post(RETRY, &with(&filter, "dry_run", true)).expect(202).body;
        (filter, dry)
    };
    api.transport.holding(|| {
        api.post_nothing(&format!("{LETTERS}/2/retry?wait=false")).expect(202);
        api.transport.next();
        for (filter, force, expected) in [
            (&all, true, json!({"matched": 4, "queued": 3, "skipped": 1})),
            (&all, false, json!({"matched": 4, "queued": 2, "skipped": 2})),
            (&json!({"resolved": true}), false, json!({"matched": 1, "queued": 0, "skipped": 1})),
            (&json!({"resolved": true}), true, json!({"matched": 1, "queued": 1, "skipped": 0})),
            (&json!({"resolved": false}), false, json!({"matched": 3, "queued": 2, "skipped": 1})),
            (&json!({"batch_id": "b"}), true, json!({"matched": 1, "queued": 0, "skipped": 1})),
        ] {
            assert_eq!(ask(filter, force).1, expected, "{filter} {force}");
        }
        let (filter, dry) = ask(&all, false);
        assert_eq!(api.post(RETRY, &filter).expect(202).body, dry, "it is what was said before");
        assert_eq!(api.post(RETRY, &filter).expect(202).body, json!({"matched": 4, "queued": 0, "skipped": 4}));
    });
    assert_eq!(retried(&api), ["c", "d"].map(String::from).into());
    assert_eq!(total(&api, "resolved=true"), 4);
    assert_eq!(ask(&all, false).1, json!({"matched": 4, "queued": 0, "skipped": 4}));
    let (filter, dry) = ask(&all, true);
    assert_eq!(dry, json!({"matched": 4, "queued": 4, "skipped": 0}));
    assert_eq!(api.post(RETRY, &filter).expect(202).body, dry);
    assert_eq!(retried(&api).len(), 4);
}

#[test]
fn more_than_one_commit_holds_are_retried_and_purged() {
    const MANY: u64 = 600;
    let api = Api::start();
    dead_letters(&api, (0..MANY).map(|n| (format!("m{n}"), "completed", HOOK)));
    api.transport.status.store(200, Ordering::SeqCst);
    let body = r#"{"event": "completed", "resolved": false}"#;
    let first = api.post_once("bulk", RETRY, body).expect(202);
    assert_eq!(first.body, json!({"matched": MANY, "queued": MANY, "skipped": 0}));
    assert_eq!(retried(&api).len() as u64, MANY);
    assert_eq!(total(&api, "resolved=true"), MANY);
    let again = api.post_once("bulk", RETRY, body).expect(202);
    assert_eq!((again.text, again.headers.iter().any(|(name, _)| name == "idempotent-replayed")), (first.text, true));
    assert_eq!(retried(&api).len(), 0);

    let body = r#"{"resolved": true}"#;
    let first = api.post_once("purge", PURGE, body).expect(200);
    assert_eq!((&first.body, total(&api, "")), (&json!({"deleted": MANY}), 0));
    assert_eq!(api.post_once("purge", PURGE, body).expect(200).text, first.text);
    assert_eq!(api.post(PURGE, &json!({"resolved": true})).expect(200).body, json!({"deleted": 0}));
}

#[test]
fn without_a_filter_nothing_is_meant() {
    let api = Api::start();
    api.dead_letter("x");
    for path in [RETRY, PURGE] {
        for body in [json!({}), json!({"dry_run": false}), json!({"dry_run": true, "batch_id": null, "until": null})] {
            api.post(path, &body).expect_problem(422, "missing_filter", Value::Null);
        }
        api.post_nothing(path).expect_problem(400, "malformed_json", Value::Null);
        for (body, param, code) in [
            (json!({"batch": "x"}), "batch", "unknown_field"),
            (json!({"resolved": true, "limit": 1}), "limit", "unknown_field"),
            (json!({"batch_id": "no id"}), "batch_id", "invalid_id"),
            (json!({"event": "done"}), "event", "invalid_event"),
            (json!({"since": "yesterday"}), "since", "invalid_time"),
            (json!({"resolved": true, "until": "2026-13-01T00:00:00Z"}), "until", "invalid_time"),
        ] {
            api.post(path, &body).expect_problem(422, code, param);
        }
        for body in
            [json!({"resolved": "true"}), json!({"batch_id": 7}), json!([]), json!({"dry_run": 1, "resolved": true})]
        {
            let refused = api.post(path, &body);
            assert!(matches!(refused.status, 400 | 422), "{refused:?}");
        }
        api.post(&format!("{path}?dry_run=true"), &json!({"resolved": false})).expect_problem(
            422,
            "unknown_parameter",
            "dry_run",
        );
    }
    api.post(PURGE, &json!({"resolved": false, "force": true})).expect_problem(422, "unknown_field", "force");
    assert_eq!(total(&api, "resolved=false"), 1, "nothing of it was done");
    assert_eq!(api.get(&format!("{LETTERS}/1")).body["attempts"], 1);
}
