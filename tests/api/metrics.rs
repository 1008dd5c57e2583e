//! What is counted: metrics in Prometheus' text form, and the statistics of each destination.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::{Value, json};

use crate::fixture::{Api, HOOK, PATIENCE};

const LETTERS: &str = "/v1/webhooks/dead-letter";

/// Metrics as a scraper reads them: a strict reader of the text format, version 0.0.4.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn scrape(api: &Api) -> Self {
        let answer = api.get("/metrics").expect(200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Self::read(&answer.text)
    }

    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "every line ends");
        let (mut samples, mut family, mut seen) = (BTreeMap::new(), (String::new(), String::new()), BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(name) && !help.is_empty(), "{line}");
                assert!(seen.insert(name.to_owned()), "{name} comes twice");
                family = (name.to_owned(), String::new());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(name == family.0 && family.1.is_empty(), "{line} follows its HELP");
                assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                kind.clone_into(&mut family.1);
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                let (name, labels) = labels(series);
                let suffix = name.strip_prefix(family.0.as_str()).unwrap_or_else(|| panic!("{line} in {}", family.0));
                let suffixes: &[&str] = if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line}");
                assert_eq!(suffix == "_bucket", labels.iter().any(|(label, _)| label == "le"), "{line}");
                assert!(!value.is_nan() && value >= 0.0, "{line}");
                assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
            }
        }
        let metrics = Self(samples);
        metrics.check_histograms(text);
        metrics
    }

    /// Buckets grow, and the last holds all.
    fn check_histograms(&self, text: &str) {
        let mut buckets: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once("_bucket{le=")) {
            buckets.entry(name).or_default().push(value.rsplit_once(' ').unwrap().1.parse().unwrap());
        }
        assert!(buckets.len() >= 4, "{:?}", buckets.keys());
        for (name, values) in buckets {
            assert!(values.is_sorted(), "{name}: {values:?}");
            assert_eq!(values.last(), self.0.get(&format!("{name}_count")), "{name}");
            assert_eq!(values.last(), self.0.get(&format!("{name}_bucket{{le=\"+Inf\"}}")), "{name}");
        }
    }

    /// 0 for what was not counted yet.
    fn of(&self, series: &str) -> f64 {
        let name = series.split('{').next().unwrap();
        assert!(is_name(name));
        self.0.get(series).copied().unwrap_or(0.0)
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A series' name and its labels.
fn labels(series: &str) -> (&str, Vec<(String, String)>) {
    let Some((name, rest)) = series.split_once('{') else {
        assert!(is_name(series), "{series}");
        return (series, Vec::new());
    };
    assert!(is_name(name), "{series}");
    let rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("{series}"));
    let label = |label: &str| {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{series}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = value.filter(|value| !value.contains(['"', '\\', '\n', ','])).unwrap_or_else(|| panic!("{series}"));
        assert!(is_name(name), "{series}");
        (name.to_owned(), value.to_owned())
    };
    (name, rest.split(',').map(label).collect())
}

/// Scrapes until it is so.
fn until(api: &Api, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    let watch = hookledger::clock::Stopwatch::start();
    while watch.elapsed() < PATIENCE {
        let metrics = Metrics::scrape(api);
        if holds(&metrics) {
            return metrics;
        }
        thread::yield_now();
    }
    panic!("{what}: it never came to that\n{}", api.get("/metrics").text);
}

/// Scrapes until it is so: what is in the log is counted a moment later.
fn expect(api: &Api, expected: &[(&str, f64)]) -> Metrics {
    until(api, &format!("{expected:?}"), |metrics| {
        expected.iter().all(|(series, value)| (metrics.of(series) - value).abs() < 1e-9)
    })
}

fn finish(api: &Api, id: &str, url: &str, status: u16) {
    api.transport.status.store(status, Ordering::SeqCst);
    api.post("/v1/batches", &json!({"id": id, "status": "completed", "webhook": {"url": url}})).expect(200);
    api.transport.next();
    api.until(&format!("/v1/batches/{id}"), |batch| batch["webhook_status"] != "pending");
}

#[test]
fn the_reader_here_is_strict() {
    let histogram = |last: u32| {
        let of = |name: &str| {
            format!(
                "# HELP {name} h\n# TYPE {name} histogram\n{name}_bucket{{le=\"1\"}} 2\n\
                 {name}_bucket{{le=\"+Inf\"}} {last}\n{name}_sum 3.5\n{name}_count 3\n"
            )
        };
        ["a", "b", "c", "d"].map(of).concat()
    };
    let sound = histogram(3) + "# HELP e h\n# TYPE e gauge\ne{x=\"y\",z=\"\"} 1e3\n";
    assert_eq!(Metrics::read(&sound).of("e{x=\"y\",z=\"\"}").to_string(), "1000");
    for bad in [
        sound.trim_end().to_owned(),
        histogram(1),
        histogram(4),
        sound.clone() + "e 1\nf 2\n",
        sound.clone() + "e{x=\"y\",z=\"\"} 1\n",
        sound.clone() + "# HELP a h\n# TYPE a gauge\na 1\n",
        sound.clone() + "# HELP g h\n# TYPE g counter\ng 1\n",
        sound.clone() + "# HELP g h\n# TYPE g gauge\ng{x=y} 1\n",
        sound.clone() + "# HELP g h\n# TYPE g gauge\ng one\n",
    ] {
        assert!(std::panic::catch_unwind(|| Metrics::read(&bad)).is_err(), "{bad}");
    }
}

#[test]
fn counters_tell_what_came_of_attempts_and_deliveries() {
    let api = Api::start();
    let of = |name: &str, outcome: &str| format!("hookledger_{name}_total{{outcome=\"{outcome}\"}}");
    for outcome in ["succeeded", "http_3xx", "http_4xx", "http_5xx"] {
        expect(&api, &[(&of("attempts", outcome), 0.0)]);
    }
    for (n, status) in [200, 204, 301, 404, 410, 500, 503, 599].into_iter().enumerate() {
        finish(&api, &format!("c{n}"), HOOK, status);
    }
    let (succeeded, dead) = (of("attempts", "succeeded"), of("deliveries", "dead"));
    let expected = [
        (&*succeeded, 2.0),
        (&of("attempts", "http_3xx"), 1.0),
        (&of("attempts", "http_4xx"), 2.0),
        (&of("attempts", "http_5xx"), 3.0),
        (&of("deliveries", "delivered"), 2.0),
        (&dead, 6.0),
        ("hookledger_dead_letters", 6.0),
        ("hookledger_attempt_duration_seconds_count", 8.0),
        ("hookledger_delivery_latency_seconds_count", 2.0),
        ("hookledger_jobs{status=\"completed\"}", 8.0),
        ("hookledger_jobs{status=\"validating\"}", 0.0),
    ];
    let after = expect(&api, &expected);
    let sum = after.of("hookledger_attempt_duration_seconds_sum");
    assert!((sum - 8.0 * 0.007).abs() < 1e-9, "{sum}");
    let head = api.get("/v1/log").body["head"].as_f64().unwrap();
    expect(&api, &[("hookledger_log_head", head), ("hookledger_events_appended_total", head)]);
    expect(&api, &[("hookledger_commit_events_sum", head)]);
    assert!(after.of("hookledger_commit_duration_seconds_count") >= 16.0);

    // A retry that succeeds, by hand: no latency of its own.
    api.transport.status.store(200, Ordering::SeqCst);
    api.post_nothing(&format!("{LETTERS}/1/retry")).expect(200);
    api.delete(&format!("{LETTERS}/2")).expect(200);
    let expected = [
        (&*succeeded, 3.0),
        (&dead, 6.0),
        ("hookledger_dead_letters", 5.0),
        ("hookledger_delivery_latency_seconds_count", 2.0),
    ];
    expect(&api, &expected);
}

#[test]
fn what_is_superseded_is_counted() {
    let api = Api::start();
    let webhook = json!({"url": HOOK, "events": ["progress", "completed"], "max_retries": 5});
    api.post("/v1/batches", &json!({"id": "s", "webhook": webhook})).expect(200);
    api.patch("/v1/batches/s", &json!({"request_counts": {"completed": 1}})).expect(200);
    api.transport.next();
    api.until("/v1/batches/s", |batch| batch["webhook_error"].is_string());
    until(&api, "it waits", |metrics| metrics.of("hookledger_queue_depth{queue=\"waiting\"}") >= 1.0);
    expect(&api, &[("hookledger_deliveries_total{outcome=\"superseded\"}", 0.0)]);
    api.transport.status.store(200, Ordering::SeqCst);
    api.patch("/v1/batches/s", &json!({"status": "completed"})).expect(200);
    api.until("/v1/batches/s", |batch| batch["webhook_status"] == "sent");
    expect(
        &api,
        &[
            ("hookledger_deliveries_total{outcome=\"superseded\"}", 1.0),
            ("hookledger_deliveries_total{outcome=\"delivered\"}", 1.0),
        ],
    );
}

#[test]
fn requests_are_counted_by_method_and_status() {
    let api = Api::start();
    let series = |method: &str, status: u16| {
        format!("hookledger_http_requests_total{{method=\"{method}\",status=\"{status}\"}}")
    };
    api.post("/v1/batches", &json!({"id": "a"})).expect(200);
    for _ in 0..3 {
        api.get("/v1/batches/none").expect(404);
        api.post("/v1/batches", &json!({"priority": 9})).expect(422);
    }
    api.delete("/v1/batches/a").expect(405);
    let brew = b"BREW /v1/batches HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(api.send_raw(brew).status, 405);
    let expected =
        [("POST", 200, 1.0), ("GET", 404, 3.0), ("POST", 422, 3.0), ("DELETE", 405, 1.0), ("other", 405, 1.0)];
    for (method, status, count) in expected {
        expect(&api, &[(&series(method, status), count)]);
    }
}

#[test]
fn gauges_are_right_after_a_restart() {
    let api = Api::start();
    for (id, status) in [("a", "completed"), ("b", "in_progress"), ("c", "failed"), ("d", "in_progress")] {
        api.post("/v1/batches", &json!({"id": id, "status": status})).expect(200);
    }
    api.post("/v1/batches", &json!({"id": "e"})).expect(200);
    api.post_nothing("/v1/batches/d/cancel").expect(200);
    api.dead_letter("f");
    let check = |api: &Api| {
        for (status, count) in [
            ("validating", 1.0),
            ("in_progress", 1.0),
            ("finalizing", 0.0),
            ("completed", 2.0),
            ("failed", 1.0),
            ("cancelling", 1.0),
            ("cancelled", 0.0),
            ("expired", 0.0),
        ] {
            expect(api, &[(&format!("hookledger_jobs{{status=\"{status}\"}}"), count)]);
        }
        expect(api, &[("hookledger_dead_letters", 1.0)]);
        let head = api.get("/v1/log").body["head"].as_f64().unwrap();
        expect(api, &[("hookledger_log_head", head)])
    };
    let before = check(&api);
    assert!(before.of("hookledger_events_appended_total") > 0.0);
    let api = api.restart();
    check(&api);
    expect(
        &api,
        &[("hookledger_events_appended_total", 0.0), ("hookledger_attempts_total{outcome=\"http_5xx\"}", 0.0)],
    );
    let version = format!("hookledger_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    expect(&api, &[(&version, 1.0)]);
}

#[test]
fn what_waits_is_seen_while_it_does() {
    const AT_ONCE: usize = 32;
    let api = Api::start();
    api.transport.status.store(200, Ordering::SeqCst);
    let depth = |queue: &str| format!("hookledger_queue_depth{{queue=\"{queue}\"}}");
    api.transport.holding(|| {
        for n in 0..AT_ONCE + 8 {
            let body = json!({"id": format!("q{n}"), "status": "completed", "webhook": {"url": HOOK}});
            api.post("/v1/batches", &body).expect(200);
        }
        for _ in 0..AT_ONCE {
            api.transport.next();
        }
        let held = until(&api, "eight are ready", |metrics| {
            metrics.of(&depth("ready")) >= 8.0 && metrics.of("hookledger_oldest_due_seconds") > 0.0
        });
        expect(&api, &[(&depth("in_flight"), 32.0), (&depth("ready"), 8.0), (&depth("waiting"), 0.0)]);
        let late = held.of("hookledger_oldest_due_seconds");
        until(&api, "it is later and later", |metrics| metrics.of("hookledger_oldest_due_seconds") > late);
    });
    let empty = ["commands", "waiting", "ready", "in_flight"].map(depth);
    until(&api, "nothing waits", |metrics| {
        empty.iter().all(|series| metrics.of(series) == 0.0) && metrics.of("hookledger_oldest_due_seconds") == 0.0
    });
}

/// Asks until the statistics are complete and so, of each destination and of all together.
fn expect_stats(api: &Api, expected: &BTreeMap<String, Value>) {
    let hosts: Vec<&Value> = expected.values().collect();
    let expected = json!({"object": "list", "data": hosts, "complete": true});
    api.until("/v1/webhooks/stats", |stats| {
        let mut stats = stats.clone();
        for host in stats["data"].as_array_mut().unwrap() {
            assert!(host.as_object_mut().unwrap().remove("now").is_some_and(|now| now.is_array()), "{host}");
        }
        stats == expected
    });
    let minutes = api.get("/v1/webhooks/stats/minutes").expect(200).body;
    assert_eq!((minutes["data"].as_array().unwrap().len(), &minutes["complete"]), (60, &json!(true)));
    for name in ["delivered", "dead", "attempts", "failed_attempts"] {
        let told: u64 = minutes["data"].as_array().unwrap().iter().filter_map(|minute| minute[name].as_u64()).sum();
        let of_hosts: u64 = hosts.iter().filter_map(|host| host["last_hour"][name].as_u64()).sum();
        assert_eq!((told, minutes["hour"][name].as_u64()), (of_hosts, Some(of_hosts)), "{name}");
    }
}

#[test]
fn statistics_of_each_host_are_there_after_traffic_and_after_a_restart() {
    let api = Api::start();
    expect_stats(&api, &BTreeMap::new());
    let (one, other) = ("https://One.example/hook", "https://other.example:8443/?x=1");
    for (n, status) in [200, 200, 500, 204].into_iter().enumerate() {
        finish(&api, &format!("a{n}"), one, status);
    }
    finish(&api, "b0", other, 404);
    finish(&api, "c", "https://one.example/another", 200);
    let window = |delivered: u64, dead: u64, attempts: u64, failed: u64| {
        let latency = json!({"p50": 7, "p95": 7, "p99": 7});
        json!({
            "deliveries": delivered + dead, "delivered": delivered, "dead": dead,
            "success_rate": f64::from(u32::try_from(delivered).unwrap()) / f64::from(u32::try_from(delivered + dead).unwrap()),
            "attempts": attempts, "failed_attempts": failed, "latency_ms": latency,
        })
    };
    let host =
        |name: &str, window: &Value| (name.to_owned(), json!({"host": name, "last_hour": window, "last_day": window}));
    let expected = |retried: u64| {
        let one = window(4 + retried, 1, 5 + retried, 1);
        BTreeMap::from([host("one.example", &one), host("other.example:8443", &window(0, 1, 1, 1))])
    };
    expect_stats(&api, &expected(0));
    let api = api.restart();
    expect_stats(&api, &expected(0));
    // What comes after the start is added to it, each once.
    api.transport.status.store(200, Ordering::SeqCst);
    api.post_nothing(&format!("{LETTERS}/1/retry")).expect(200);
    expect_stats(&api, &expected(1));
    let api = api.restart();
    expect_stats(&api, &expected(1));
}
