//! What is refused in bodies and queries, and in which words.

use serde_json::{Value, json};

use crate::fixture::{Api, HOOK, SECRET};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

#[test]
fn every_field_is_checked_and_named() {
    let api = Api::start();
    let webhook = |field: &str, value: Value| json!({"webhook": {"url": HOOK, "secret": SECRET, field: value}});
    let table = [
        (json!({"id": "a b"}), "invalid_id", "id"),
        (json!({"id": ""}), "invalid_id", "id"),
        (json!({"id": 7}), "invalid_type", "id"),
        (json!({"input_file_id": ""}), "empty", "input_file_id"),
        (json!({"endpoint": ["x"]}), "invalid_type", "endpoint"),
        (json!({"endpoint": "x".repeat(513)}), "too_long", "endpoint"),
        (json!({"completion_window": "1w"}), "invalid_completion_window", "completion_window"),
        (json!({"completion_window": 24}), "invalid_type", "completion_window"),
        (json!({"priority": 2}), "invalid_priority", "priority"),
        (json!({"priority": u64::MAX}), "invalid_priority", "priority"),
        (json!({"priority": 0.5}), "invalid_type", "priority"),
        (json!({"metadata": {"k": 1}}), "invalid_type", "metadata.k"),
        (json!({"metadata": {"k": "v".repeat(513)}}), "invalid_metadata", "metadata"),
        (json!({"metadata": {"webhook_url": "ftp://a.example"}}), "invalid_url", "metadata.webhook_url"),
        (json!({"output_expires_after": {"seconds": 1}}), "missing_field", "output_expires_after.anchor"),
        (json!({"output_expires_after": {"anchor": "created_at"}}), "missing_field", "output_expires_after.seconds"),
        (
            json!({"output_expires_after": {"anchor": "expires_at", "seconds": 1}}),
            "invalid_anchor",
            "output_expires_after.anchor",
        ),
        (
            json!({"output_expires_after": {"anchor": "created_at", "seconds": 0}}),
            "invalid_seconds",
            "output_expires_after.seconds",
        ),
        (json!({"request_counts": {"total": -1}}), "invalid_type", "request_counts.total"),
        (json!({"request_counts": {"done": 1}}), "unknown_field", "request_counts.done"),
        (json!({"status": "done"}), "invalid_status", "status"),
        (json!({"errors": "all"}), "invalid_type", "errors"),
        (json!({"errors": {"object": "list"}}), "missing_field", "errors.data"),
        (json!({"errors": {"object": "set", "data": []}}), "invalid_object", "errors.object"),
        (json!({"errors": [{"line": "7"}]}), "invalid_type", "errors.0.line"),
        (json!({"errors": [{"line": 1_u64 << 63}]}), "invalid_type", "errors.0.line"),
        (json!({"webhook": "https://a.example"}), "invalid_type", "webhook"),
        (json!({"webhook": {}}), "missing_field", "webhook.url"),
        (webhook("url", json!("example.com/hook")), "invalid_url", "webhook.url"),
        (webhook("url", json!("http://a.example/")), "invalid_url", "webhook.url"),
        (webhook("url", json!("https://user:pass@a.example/")), "invalid_url", "webhook.url"),
        (webhook("url", json!("https://@a.example/")), "invalid_url", "webhook.url"),
        (webhook("secret", json!("")), "invalid_secret", "webhook.secret"),
        (webhook("secret", json!("x".repeat(257))), "invalid_secret", "webhook.secret"),
        (webhook("secret", json!([SECRET])), "invalid_type", "webhook.secret"),
        (webhook("max_retries", json!(0)), "invalid_max_retries", "webhook.max_retries"),
        (webhook("max_retries", json!(11)), "invalid_max_retries", "webhook.max_retries"),
        (webhook("max_retries", json!(-4_294_967_295_i64)), "invalid_max_retries", "webhook.max_retries"),
        (webhook("max_retries", json!("3")), "invalid_type", "webhook.max_retries"),
        (webhook("timeout", json!(4)), "invalid_timeout", "webhook.timeout"),
        (webhook("timeout", json!(301)), "invalid_timeout", "webhook.timeout"),
        (webhook("events", json!([])), "invalid_event", "webhook.events"),
        (webhook("events", json!(["completed", 1])), "invalid_type", "webhook.events.1"),
        (webhook("format", json!("xml")), "invalid_format", "webhook.format"),
        (webhook("retries", json!(3)), "unknown_field", "webhook.retries"),
    ];
    for (body, code, param) in table {
        api.post("/v1/batches", &body).expect_problem(422, code, param);
    }
    assert_eq!(api.get("/v1/batches").body["data"], json!([]), "nothing was registered");
}

#[test]
fn bounds_are_inclusive() {
    let api = Api::start();
    for (max_retries, timeout) in [(1, 5), (10, 300)] {
        let webhook = json!({"url": HOOK, "secret": "s".repeat(256), "max_retries": max_retries, "timeout": timeout});
        api.post("/v1/batches", &json!({"webhook": webhook})).expect(200);
    }
}

#[test]
fn a_mistyped_event_is_named_with_the_valid_ones() {
    let api = Api::start();
    let webhook = json!({"url": HOOK, "events": ["completed", "typo_event", "invalid"]});
    let answer = api.post("/v1/batches", &json!({"webhook": webhook}));
    let message = answer.expect_problem(422, "invalid_event", "webhook.events");
    assert_eq!(
        message,
        "Invalid events: typo_event, invalid. Valid events: completed, failed, progress, cancelled, expired"
    );
    let aliases = json!({"url": HOOK, "events": ["batch.completed", "failed"]});
    api.post("/v1/batches", &json!({"webhook": aliases})).expect(200);
}

#[test]
fn an_unknown_field_is_named_with_the_allowed_ones() {
    let api = Api::start();
    let answer = api.post("/v1/batches", &json!({"webook": {"url": HOOK}}));
    assert_eq!(
        answer.expect_problem(422, "unknown_field", "webook"),
        "Unknown field 'webook'. Did you mean 'webhook'? Allowed fields: completion_window, endpoint, error_file_id, \
         errors, id, input_file_id, metadata, output_expires_after, output_file_id, priority, request_counts, status, \
         webhook"
    );
    api.post("/v1/batches", &json!({"id": "u"})).expect(200);
    let answer = api.patch("/v1/batches/u", &json!({"metadata": {}}));
    assert_eq!(
        answer.expect_problem(422, "unknown_field", "metadata"),
        "Unknown field 'metadata'. Allowed fields: error_file_id, errors, output_file_id, request_counts, status, webhook"
    );
}

#[test]
fn malformed_bodies_are_refused() {
    let api = Api::start();
    let deep = ["{\"metadata\": ", &"[".repeat(64), &"]".repeat(64), "}"].concat();
    let table: [(&[u8], &str); 9] = [
        (b"{\n  \"id\": oops}", "line 2 column 9"),
        (b"{\"id\": \"a\", \"id\": \"b\"}", "the key \"id\" comes twice"),
        (b"{\"metadata\": {\"a\": \"1\", \"a\": \"1\"}}", "the key \"a\" comes twice"),
        (b"{\"id\": \"a\\u0000\"}", "NUL"),
        (b"{\"id\": \"\xff\"}", "not UTF-8"),
        (deep.as_bytes(), "deeper than 64"),
        (b"{} {}", "trailing"),
        (b"{", "EOF"),
        (b"", "JSON object"),
    ];
    for (body, why) in table {
        let answer = api.send("POST", "/v1/batches", &JSON, body);
        let message = answer.expect_problem(400, "malformed_json", Value::Null);
        assert!(message.contains(why), "{message}");
    }
    api.send("POST", "/v1/batches", &JSON, b"[]").expect_problem(422, "invalid_type", Value::Null);
}

#[test]
fn only_json_is_taken() {
    let api = Api::start();
    for headers in
        [&[][..], &[("Content-Type", "text/plain")], &[("Content-Type", "application/x-www-form-urlencoded")]]
    {
        let answer = api.send("POST", "/v1/batches", headers, b"{}");
        answer.expect_problem(415, "unsupported_media_type", Value::Null);
    }
    api.send("POST", "/v1/batches", &[("Content-Type", "application/json; charset=utf-8")], b"{}").expect(200);
}

#[test]
fn a_body_has_a_largest_size() {
    let api = Api::start();
    let announced = b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                      Content-Length: 1048577\r\nConnection: close\r\n\r\n";
    api.send_raw(announced).expect_problem(413, "body_too_large", Value::Null);
    let chunked = "POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n100001\r\n";
    let bytes = [chunked.as_bytes(), &vec![b' '; 0x10_0001]].concat();
    api.send_raw(&bytes).expect_problem(413, "body_too_large", Value::Null);
    // A client that sends it all without listening gets its answer, too, and not a reset.
    for _ in 0..20 {
        let larger = vec![b' '; 4 * 1024 * 1024];
        api.send("POST", "/v1/batches", &JSON, &larger).expect_problem(413, "body_too_large", Value::Null);
    }
    let mut largest = b"{}".to_vec();
    largest.resize(1024 * 1024, b' ');
    api.send("POST", "/v1/batches", &JSON, &largest).expect(200);
}

#[test]
fn queries_are_checked() {
    let api = Api::start();
    api.post("/v1/batches", &json!({"id": "q"})).expect(200);
    let letters = "/v1/webhooks/dead-letter";
    for (path, code, param) in [
        ("/v1/batches?limit=0".into(), "invalid_parameter", "limit"),
        ("/v1/batches?limit=101".into(), "invalid_parameter", "limit"),
        ("/v1/batches?limit=ten".into(), "invalid_parameter", "limit"),
        ("/v1/batches?limit=1&limit=2".into(), "invalid_parameter", "limit"),
        ("/v1/batches?after=nobody".into(), "invalid_parameter", "after"),
        ("/v1/batches?status=done".into(), "invalid_parameter", "status"),
        ("/v1/batches?offset=1".into(), "unknown_parameter", "offset"),
        ("/v1/batches/q?verbose=1".into(), "unknown_parameter", "verbose"),
        ("/v1/batches/q/history?offset=1".into(), "unknown_parameter", "offset"),
        (format!("{letters}?limit=1001"), "invalid_parameter", "limit"),
        (format!("{letters}?offset=-1"), "invalid_parameter", "offset"),
        (format!("{letters}?event=typo"), "invalid_parameter", "event"),
        (format!("{letters}?batch_id=a%20b"), "invalid_parameter", "batch_id"),
        (format!("{letters}?resolved=maybe"), "invalid_parameter", "resolved"),
        (format!("{letters}?since=yesterday"), "invalid_parameter", "since"),
        (format!("{letters}?after=1"), "unknown_parameter", "after"),
        ("/health?x=1".into(), "unknown_parameter", "x"),
    ] {
        api.get(&path).expect_problem(422, code, param);
    }
    let answer = api.get("/v1/batches?afer=q");
    let message = answer.expect_problem(422, "unknown_parameter", "afer");
    assert_eq!(
        message,
        "Unknown query parameter 'afer'. Did you mean 'after'? Allowed parameters: limit, after, status, prefix"
    );
}

#[test]
fn the_largest_batch_can_be_stored() {
    let api = Api::start();
    let metadata: serde_json::Map<_, _> =
        (0..16).map(|n| (format!("{n:02}{}", "𝄞".repeat(62)), Value::String("𝄞".repeat(512)))).collect();
    let text = "𝄞".repeat(512);
    let body = json!({
        "metadata": metadata, "input_file_id": text, "endpoint": text, "output_file_id": text, "error_file_id": text,
        "errors": [{"line": 1, "message": "𝄞".repeat(1000)}], "status": "failed",
        "webhook": {"url": format!("{HOOK}?{}", "x".repeat(2000))},
    });
    api.post("/v1/batches", &body).expect(200);
    api.get("/ready").expect(200);
}
