//! Walks through the pages of lists while others write: nothing is seen twice, and nothing is skipped that was there all
//! the time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::fixture::{Api, AtWork, HOOK};

const MANY: usize = 30;

/// One walk. Gives `field` of all entries.
fn walk(api: &Api, path: &str, query: &str, field: &str) -> Vec<String> {
    let (mut seen, mut after, mut ids) = (Vec::new(), String::new(), BTreeSet::new());
    loop {
        let page = api.get(&format!("{path}?{query}{after}")).expect(200).body;
        for entry in page["data"].as_array().unwrap() {
            seen.push(entry[field].as_str().unwrap().to_owned());
            assert!(ids.insert(entry["id"].as_str().unwrap().to_owned()), "{path}?{query}: twice: {entry}");
        }
        match &page["last_id"] {
            Value::String(last) if page["has_more"] == true => after = format!("&after={last}"),
            _ => return seen,
        }
    }
}

/// Walks again and again, until there is nothing more to come.
fn walk_while(writing: &AtomicUsize, api: &Api, path: &str, query: &str, field: &str, always: &[String]) {
    loop {
        let done = writing.load(Ordering::SeqCst) == 0;
        let seen = walk(api, path, query, field);
        let seen: Vec<_> = seen.iter().filter(|id| always.contains(id)).collect();
        let expected: Vec<_> = always.iter().collect();
        assert_eq!(seen, expected, "{path}?{query}: each that was there all the time, newest first");
        if done {
            return;
        }
    }
}

fn names(prefix: &str) -> Vec<String> {
    (0..MANY).rev().map(|n| format!("{prefix}{n}")).collect()
}

#[test]
fn pages_while_others_write() {
    let api = Api::start();
    api.transport.status.store(200, Ordering::SeqCst);
    let webhook = json!({"url": HOOK});
    for n in 0..MANY {
        // What stays as it is, and among it what goes.
        for (prefix, status) in [("stays", "in_progress"), ("goes", "in_progress"), ("done", "completed")] {
            let body = json!({"id": format!("{prefix}{n}"), "status": status, "webhook": webhook});
            api.post("/v1/batches", &body).expect(200);
        }
    }
    let writing = AtomicUsize::new(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _at_work = AtWork(&writing);
            for n in 0..MANY {
                api.patch(&format!("/v1/batches/goes{n}"), &json!({"status": "completed"})).expect(200);
                let body = json!({"id": format!("new{n}"), "status": "completed", "webhook": webhook});
                api.post("/v1/batches", &body).expect(200);
                api.post("/v1/batches", &json!({"id": format!("newer{n}"), "status": "in_progress"})).expect(200);
            }
        });
        let (api, writing) = (&api, &writing);
        scope.spawn(move || walk_while(writing, api, "/v1/batches", "limit=7", "id", &names("stays")));
        scope.spawn(move || {
            walk_while(writing, api, "/v1/batches", "limit=3&status=in_progress", "id", &names("stays"));
        });
        let deliveries = "/v1/webhooks/deliveries";
        scope.spawn(move || walk_while(writing, api, deliveries, "limit=4", "batch_id", &names("done")));
        scope
            .spawn(move || walk_while(writing, api, deliveries, "limit=5&event=completed", "batch_id", &names("done")));
    });
    let all: BTreeSet<_> = walk(&api, "/v1/batches", "limit=100", "id").into_iter().collect();
    assert_eq!(all.len(), 5 * MANY);
    assert_eq!(walk(&api, "/v1/batches", "status=in_progress&limit=11", "id").len(), 2 * MANY);
    let told = walk(&api, "/v1/webhooks/deliveries", "limit=9&event=completed", "batch_id");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>().len(), 3 * MANY);
}
