//! Stories: one script in `tests/stories` each, told by the real engine with a clock, a log and a transport of the
//! script's own. What happened is a snapshot, to be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

#[path = "stories/lines.rs"]
mod lines;
#[path = "stories/script.rs"]
mod script;
#[path = "stories/teller.rs"]
mod teller;

use teller::Teller;

/// Tells the story of `tests/stories/NAME.txt`, and compares it with its snapshot.
fn tell(name: &str) -> Teller {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stories/{name}.txt"));
    let script = fs::read_to_string(path).unwrap();
    let teller = Teller::tell(&script);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("story_{name}"), teller.told()));
    assert_eq!(Teller::tell(&script).told(), teller.told(), "the same story every time");
    teller
}

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { tell(stringify!($name)); })*

        #[test]
        fn every_script_is_told() {
            let told: BTreeSet<_> = [$(stringify!($name).to_owned()),*].into();
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
            let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let scripts: BTreeSet<_> = names.filter_map(|name| name.strip_suffix(".txt").map(str::to_owned)).collect();
            assert_eq!(scripts, told);
        }
    };
}

stories!(
    backoff,
    cancelling,
    clock_set_back,
    clock_skew,
    crash_during_an_attempt,
    custom_retries_and_timeout,
    dead_letter_retry,
    erasure,
    event_filtering,
    expiry,
    global_defaults,
    old_timestamps,
    one_slow_receiver,
    payload_format,
    progress,
    progress_interval,
    registered_when_done,
    retention,
    retry_after,
    secret_rotation,
    webhook_options,
);

/// The fields of OpenAI's batch object, as its API reference lists them.
const BATCH: [&str; 21] = [
    "cancelled_at",
    "cancelling_at",
    "completed_at",
    "completion_window",
    "created_at",
    "endpoint",
    "error_file_id",
    "errors",
    "expired_at",
    "expires_at",
    "failed_at",
    "finalizing_at",
    "id",
    "in_progress_at",
    "input_file_id",
    "metadata",
    "model",
    "object",
    "output_file_id",
    "request_counts",
    "status",
];

#[test]
fn bodies_have_the_fields_of_openais_objects() {
    let teller = tell("payload_format");
    let body = |request: usize| serde_json::from_slice::<Value>(&teller.request(request).body).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for request in [1, 2] {
        let batch = body(request);
        let missing: Vec<_> = BATCH.into_iter().filter(|field| !keys(&batch).contains(*field)).collect();
        assert_eq!(missing, Vec::<&str>::new());
        assert_eq!(batch["object"], "batch");
        assert_eq!(keys(&batch["request_counts"]), ["completed", "failed", "total"].map(str::to_owned).into());
        assert!(batch["created_at"].is_i64() && batch["expires_at"].is_i64(), "Unix seconds");
    }
    let event = body(3);
    assert_eq!(keys(&event), ["created_at", "data", "id", "object", "timestamp", "type"].map(str::to_owned).into());
    assert_eq!((event["object"].as_str(), event["type"].as_str()), (Some("event"), Some("batch.completed")));
    assert_eq!(event["data"], serde_json::json!({ "id": "thin" }));
}
