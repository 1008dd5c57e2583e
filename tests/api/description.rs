//! The server's description of itself, and whether its answers are what it says: every answer in these tests is held to it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::fixture::{Answer, Api, HOOK};

/// An OpenAPI document.
pub struct Description {
    document: Value,
}

impl Description {
    pub fn new(document: Value) -> Self {
        Self { document }
    }

    /// Fails when the description does not have this answer to that request, or has another form for it.
    pub fn check(&self, method: &str, target: &str, answer: &Answer) {
        let path = target.split('?').next().unwrap();
        let method = if method == "HEAD" { "get".to_owned() } else { method.to_ascii_lowercase() };
        let status = answer.status.to_string();
        let operation = self.paths().iter().find_map(|(template, methods)| {
            if matches(template, path) { methods.get(&method).map(|operation| (template, operation)) } else { None }
        });
        let response = match operation {
            Some((template, operation)) => {
                let response = &operation["responses"][&status];
                assert!(response.is_object(), "{method} {template} may not answer {status}: {:?}", answer.body);
                response
            }
            None => {
                assert!(answer.status >= 400, "{method} {path} is not described, and is answered with {status}");
                &json!({"$ref": "#/components/responses/Problem"})
            }
        };
        let response = match response["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => response,
        };
        let Some((described, content)) = response["content"].as_object().and_then(|content| content.iter().next())
        else {
            assert_eq!(answer.text, "", "{method} {path} is described to have no body");
            return;
        };
        let kind = answer.header("content-type").unwrap_or_default();
        let fits = described == "*/*" || kind.starts_with(described.as_str());
        assert!(fits, "{method} {path}: {kind} is not {described}");
        if described == "application/json" && !answer.body.is_string() {
            self.hold(&content["schema"], &answer.body, &format!("{method} {path} {status}"));
        }
    }

    fn hold(&self, schema: &Value, value: &Value, what: &str) {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{what}: {}\n{value}", errors.join("\n"));
    }

    fn paths(&self) -> &Map<String, Value> {
        self.document["paths"].as_object().unwrap()
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut parts, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), given.next()) {
            (None, None) => return true,
            (Some(part), Some(given)) if part == given || part == "{file}" => {}
            (Some("{id}"), Some(given)) if !matches!(given, "retry" | "purge") => {}
            _ => return false,
        }
    }
}

#[test]
fn it_is_a_document_with_every_operation() {
    let api = Api::start();
    let document = api.get("/openapi.json").expect(200).body;
    assert_eq!(document, hookledger::api::description(), "what these tests hold answers to is what the server says");
    assert_eq!(document["openapi"], "3.1.0");
    let operations: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let expected = [
        "get /",
        "get /dashboard/{file}",
        "get /health",
        "get /metrics",
        "get /openapi.json",
        "get /ready",
        "get /v1/batches",
        "post /v1/batches",
        "get /v1/batches/{id}",
        "patch /v1/batches/{id}",
        "post /v1/batches/{id}/cancel",
        "get /v1/batches/{id}/history",
        "delete /v1/batches/{id}/payloads",
        "get /v1/log",
        "get /v1/webhooks/dead-letter",
        "post /v1/webhooks/dead-letter/purge",
        "post /v1/webhooks/dead-letter/retry",
        "get /v1/webhooks/dead-letter/{id}",
        "delete /v1/webhooks/dead-letter/{id}",
        "post /v1/webhooks/dead-letter/{id}/retry",
        "get /v1/webhooks/deliveries",
        "get /v1/webhooks/deliveries/{id}",
        "post /v1/webhooks/deliveries/{id}/resend",
        "get /v1/webhooks/stats",
        "get /v1/webhooks/stats/minutes",
    ];
    assert_eq!(operations, expected.map(String::from).into());
    let ids: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|methods| methods.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), expected.len(), "{ids:?}");
}

/// Every reference leads somewhere, and every schema is one.
#[test]
fn it_holds_together() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let api = Api::start();
    let document = api.get("/openapi.json").expect(200).body;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{schema}");
    }
}

/// What a request may not have is described as such, and what it may have is not described more narrowly than it is.
#[test]
fn bodies_are_described_as_they_are_read() {
    let api = Api::start();
    let document = api.get("/openapi.json").expect(200).body;
    let validator = |name: &str| {
        let reference = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
        jsonschema::draft202012::new(&reference).unwrap()
    };
    let (batch, report, purge) = (validator("NewBatch"), validator("Change"), validator("Purge"));
    let at = |url: &str| json!({"webhook": {"url": url}});
    for (schema, body) in [
        (&batch, json!({"completion_window": "1440m", "output_expires_after": {"anchor": "created_at", "seconds": 1}})),
        (&batch, at("HTTPS://ä.example/@x?y")),
        (&batch, json!({"webhook": {"url": HOOK, "headers": {"X-A": "a b"}, "rate_limit": 1, "retry_schedule": [5]}})),
        (&report, json!({"errors": [{"message": "m".repeat(500), "line": 7}], "request_counts": {"completed": 1}})),
    ] {
        assert!(schema.is_valid(&body), "{body}");
        api.post("/v1/batches", &body).expect(200);
    }
    for (schema, body) in [
        (&batch, json!({"webook": {}})),
        (&batch, json!({"webhook": {"url": HOOK, "retries": 3}})),
        (&batch, json!({"output_expires_after": {"anchor": "created_at"}})),
        (&batch, json!({"webhook": {"url": HOOK, "headers": {"X A": "a"}}})),
        (&batch, json!({"webhook": {"url": HOOK, "headers": {"X-A": "a "}}})),
        (&batch, json!({"webhook": {"url": HOOK, "retry_schedule": [0]}})),
        (&batch, at("https://a@b.example/")),
        (&batch, at("https://b.example/#a")),
        (&batch, json!({"request_counts": {"total": 1e20}})),
        (&report, json!({"errors": [{"text": "x"}]})),
    ] {
        assert!(!schema.is_valid(&body), "{body}");
        api.post("/v1/batches", &body).expect(422);
    }
    assert!(report.is_valid(&json!({"status": "failed", "webhook": {"secret": "s", "overlap": 0}})));
    assert!(!report.is_valid(&json!({"webhook": {"overlap": 0}})) && !report.is_valid(&json!({"webhok": null})));
    assert!(!purge.is_valid(&json!({})) && !purge.is_valid(&json!({"url": HOOK, "force": true})));
}

#[test]
#[should_panic(expected = "may not answer")]
fn the_check_can_fail() {
    let api = Api::start();
    let mut answer = api.get("/v1/batches");
    answer.status = 418;
    api.description().check("GET", "/v1/batches", &answer);
}

#[test]
#[should_panic(expected = "is not of type")]
fn the_check_of_forms_can_fail() {
    let api = Api::start();
    let mut answer = api.get("/v1/batches");
    answer.body["has_more"] = json!("no");
    api.description().check("GET", "/v1/batches", &answer);
}
