//! The exact bytes that a receiver gets.
//!
//! They are what Python's `json.dumps(payload, sort_keys=True)` prints: sorted keys, `", "` and `": "`, non-ASCII escaped.
//! A receiver that verifies the raw body and one that parses it and serialises it again both see the same bytes.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::domain::batch::BatchObject;
use crate::domain::delivery::Delivery;
use crate::domain::job::{Job, Status};
use crate::domain::webhook::Format;

/// The body of a delivery that was just scheduled, from the job as it is at that moment.
#[must_use]
pub fn body(job: &Job, delivery: &Delivery) -> Vec<u8> {
    let format = job.spec.webhook.as_ref().map(|webhook| webhook.format).unwrap_or_default();
    let value = match format {
        Format::Batch => batch(job),
        Format::Event => event(job, delivery),
    };
    dumps(&value).into_bytes()
}

fn batch(job: &Job) -> Value {
    let mut value = serde_json::to_value(BatchObject::from(job)).unwrap_or_default();
    let results = (job.status == Status::Completed).then(|| format!("/v1/batches/{}/results", job.id));
    let errors = (job.counts.failed > 0).then(|| format!("/v1/batches/{}/errors", job.id));
    value["output_file_url"] = json!(results);
    value["error_file_url"] = json!(errors);
    value
}

fn event(job: &Job, delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id.to_string(),
        "object": "event",
        "created_at": delivery.created_at.as_seconds(),
        "timestamp": delivery.created_at.to_string(),
        "type": format!("batch.{}", delivery.kind),
        "data": { "id": job.id.as_str() },
    })
}

/// `json.dumps(value, sort_keys=True)` of Python's standard library, for values without fractions.
#[must_use]
pub fn dumps(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // Sorted here and not by the map's type: another crate may switch on serde_json's `preserve_order`.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_string(out, key);
                out.push_str(": ");
                write_value(out, member);
            }
            out.push('}');
        }
    }
}

/// A string as Python's `ensure_ascii` writes it: beyond ASCII as UTF-16 code units in hexadecimal.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                // Writing into a String can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_python_prints() {
        // python3 -c 'import json; print(json.dumps({"b": [1, -2, True, None, "x"], "a": {"é": "\U0001f600\x7f\x00\"\\/\n\t\b\f\r"}, "": {}, "B": []}, sort_keys=True))'
        let value =
            json!({"b": [1, -2, true, null, "x"], "a": {"é": "😀\u{7f}\u{0}\"\\/\n\t\u{8}\u{c}\r"}, "": {}, "B": []});
        let python = r#"{"": {}, "B": [], "a": {"\u00e9": "\ud83d\ude00\u007f\u0000\"\\/\n\t\b\f\r"}, "b": [1, -2, true, null, "x"]}"#;
        assert_eq!(dumps(&value), python);
    }

    #[test]
    fn keys_sort_by_code_point_as_in_python() {
        // Above the surrogates UTF-16 order and code point order differ; Python sorts by code point.
        let value = json!({"\u{ffff}": 1, "\u{10000}": 2, "z": 3});
        assert_eq!(dumps(&value), r#"{"z": 3, "\uffff": 1, "\ud800\udc00": 2}"#);
    }
}
