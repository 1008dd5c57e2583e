//! JSON Schemas, made from the types that requests are read into: bodies are held to them, and the description of the API
//! is made of them, so that neither can say what the other does not.

use std::borrow::Cow;
use std::sync::OnceLock;

use axum::http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::suggestion::did_you_mean;

/// Something that a request's body is read into.
pub(super) trait Body: DeserializeOwned + JsonSchema + Send {
    /// Where its schema is kept, once it was made.
    fn schema() -> &'static OnceLock<Value>;
}

/// Makes schemas that refer to one another, for the description.
pub(super) fn generator(for_answers: bool) -> SchemaGenerator {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    if for_answers {
        settings.for_serialize().into_generator()
    } else {
        settings.for_deserialize().with_transform(RecursiveTransform(close)).into_generator()
    }
}

/// Says of an object what [`read`] makes of it: fields that it does not name are refused.
fn close(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".into(), false.into());
    }
}

/// Reads a value that has to be as `T`'s schema says: no field that is not known, none missing, each of its type. Bounds
/// are the domain's.
pub(super) fn read<T: Body>(value: Value) -> Result<T, Problem> {
    let schema = T::schema().get_or_init(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.for_deserialize().into_generator().into_root_schema_for::<T>().to_value()
    });
    check(schema, &value, "")?;
    serde_json::from_value(value).map_err(|error| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_type",
            format!("The body is not what it may be: {error}"),
        )
    })
}

/// Holds a value to a schema.
fn check(schema: &Value, value: &Value, path: &str) -> Result<(), Problem> {
    let schema = variant_for(schema, value);
    let is_unsigned = schema.get("minimum").and_then(Value::as_u64) == Some(0);
    let is_below = is_unsigned && value.as_i64().is_some_and(|number| number < 0);
    // With a maximum of its own the number is refused by that, and the message names it.
    let is_signed = schema.get("format").is_some_and(|format| format == "int64") && schema.get("maximum").is_none();
    let is_above = is_signed && value.is_u64() && !value.is_i64();
    if is_below || is_above || (types(schema).next().is_some() && !types(schema).any(|name| is_of(value, name))) {
        return Err(wrong_type(path, &expected(schema), value));
    }
    match value {
        Value::Object(fields) => check_fields(schema, fields, path),
        Value::Array(items) => schema.get("items").map_or(Ok(()), |schema| {
            items.iter().enumerate().try_for_each(|(place, item)| check(schema, item, &below(path, &place.to_string())))
        }),
        _ => Ok(()),
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, path: &str) -> Result<(), Problem> {
    let known = schema.get("properties").and_then(Value::as_object);
    let more = schema.get("additionalProperties").filter(|more| more.is_object());
    for (name, value) in fields {
        match (known.and_then(|known| known.get(name)), more) {
            (Some(schema), _) => check(schema, value, &below(path, name))?,
            (None, Some(schema)) => check(schema, value, &below(path, name))?,
            (None, None) => return Err(unknown(name, known, path)),
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        if fields.get(name).is_none_or(Value::is_null) {
            let path = below(path, name);
            return Err(Problem::invalid(path.clone(), "missing_field", format!("{path} is required")));
        }
    }
    Ok(())
}

fn unknown(name: &str, known: Option<&Map<String, Value>>, path: &str) -> Problem {
    let known: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let shown: String = name.chars().take(64).collect();
    let hint = did_you_mean(&shown, &known);
    let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let path = below(path, &shown);
    let message = format!("Unknown field '{path}'.{hint} Allowed fields: {allowed}");
    Problem::invalid(path, "unknown_field", message)
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Of several that a value may be, the one that is of its type; the first, when none is.
fn variant_for<'a>(schema: &'a Value, value: &Value) -> &'a Value {
    let Some(variants) = schema.get("anyOf").and_then(Value::as_array) else { return schema };
    let mut variants = variants.iter().map(|variant| variant_for(variant, value));
    let first = variants.next().unwrap_or(schema);
    let fits = |variant: &&Value| types(variant).any(|name| is_of(value, name));
    if fits(&first) { first } else { variants.find(fits).unwrap_or(first) }
}

/// The types that a schema allows; none when it allows all.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let (one, many) = match schema.get("type") {
        Some(Value::String(name)) => (Some(name.as_str()), None),
        Some(Value::Array(names)) => (None, Some(names.iter().filter_map(Value::as_str))),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten())
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn expected(schema: &Value) -> Cow<'static, str> {
    let name = types(schema).find(|name| *name != "null").unwrap_or_default();
    let of = |key: &str| schema.get(key).and_then(|inner| types(inner).next());
    match name {
        "boolean" => "true or false".into(),
        "integer" if schema.get("minimum").and_then(Value::as_u64) == Some(0) => "a whole number from 0 on".into(),
        "integer" => "a whole number".into(),
        "string" => "a string".into(),
        "array" if of("items") == Some("string") => "a list of strings".into(),
        "array" => "a list".into(),
        "object" if of("additionalProperties") == Some("string") => "an object with strings for values".into(),
        "object" => "an object".into(),
        other => other.to_owned().into(),
    }
}

/// Says what came instead, without repeating it: it may be a secret in the wrong place.
fn wrong_type(path: &str, expected: &str, value: &Value) -> Problem {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        // What is whole and fits into an integer was read as one.
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            "a number too far from 0"
        }
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => "a negative number",
        Value::Number(number) if !number.is_i64() => "a number from 2^63 on",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    if path.is_empty() {
        let message = format!("The body must be {expected}, not {got}");
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_type", message);
    }
    Problem::invalid(path.to_owned(), "invalid_type", format!("{path} must be {expected}, not {got}"))
}

/// A whole number. One beyond `i64` is the nearest that is not: it is out of every field's bounds all the same.
pub(super) fn nearest<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let number: Option<serde_json::Number> = serde::Deserialize::deserialize(from)?;
    Ok(number.map(|number| number.as_i64().unwrap_or(i64::MAX)))
}

/// Declares a type that a body is read into.
macro_rules! body {
    ($type:ty) => {
        impl crate::api::schema::Body for $type {
            fn schema() -> &'static std::sync::OnceLock<serde_json::Value> {
                static SCHEMA: std::sync::OnceLock<serde_json::Value> = std::sync::OnceLock::new();
                &SCHEMA
            }
        }
    };
}

pub(super) use body;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Outer {
        endpoint: Option<String>,
        webhook: Option<Inner>,
        metadata: Option<BTreeMap<String, String>>,
        #[serde(default, deserialize_with = "nearest")]
        #[schemars(with = "Option<i64>", range(min = -1, max = 1))]
        priority: Option<i64>,
        line: Option<i64>,
        count: Option<u64>,
        list: Option<Either>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Inner {
        url: String,
        events: Option<Vec<String>>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(untagged)]
    enum Either {
        Bare(Vec<Inner>),
        Wrapped { data: Vec<Inner> },
    }

    body!(Outer);

    fn refused(value: Value) -> (String, &'static str, String) {
        let problem = read::<Outer>(value).unwrap_err();
        (problem.param.unwrap_or_default().into_owned(), problem.code, problem.message)
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        for (value, param, code, message) in [
            (json!({"endpoint": 1}), "endpoint", "invalid_type", "endpoint must be a string, not a number"),
            (json!({"priority": 1.5}), "priority", "invalid_type", "priority must be a whole number, not a fraction"),
            (json!({"count": "1"}), "count", "invalid_type", "count must be a whole number from 0 on, not a string"),
            (
                json!({"count": -1}),
                "count",
                "invalid_type",
                "count must be a whole number from 0 on, not a negative number",
            ),
            (
                json!({"count": 1e20}),
                "count",
                "invalid_type",
                "count must be a whole number from 0 on, not a number too far from 0",
            ),
            (
                json!({"line": 1_u64 << 63}),
                "line",
                "invalid_type",
                "line must be a whole number, not a number from 2^63 on",
            ),
            (json!({"webhook": "x"}), "webhook", "invalid_type", "webhook must be an object, not a string"),
            (json!({"webhook": {}}), "webhook.url", "missing_field", "webhook.url is required"),
            (
                json!({"webhook": {"url": null}}),
                "webhook.url",
                "invalid_type",
                "webhook.url must be a string, not null",
            ),
            (
                json!({"webhook": {"url": "u", "events": ["a", 1]}}),
                "webhook.events.1",
                "invalid_type",
                "webhook.events.1 must be a string, not a number",
            ),
            (
                json!({"webhook": {"url": "u", "events": "a"}}),
                "webhook.events",
                "invalid_type",
                "webhook.events must be a list of strings, not a string",
            ),
            (
                json!({"webhook": {"ulr": 7}}),
                "webhook.ulr",
                "unknown_field",
                "Unknown field 'webhook.ulr'. Allowed fields: events, url",
            ),
            (
                json!({"webhok": {}}),
                "webhok",
                "unknown_field",
                "Unknown field 'webhok'. Did you mean 'webhook'? \
                 Allowed fields: count, endpoint, line, list, metadata, priority, webhook",
            ),
            (
                json!({"metadata": {"a": true}}),
                "metadata.a",
                "invalid_type",
                "metadata.a must be a string, not a boolean",
            ),
            (json!({"list": [{"url": 1}]}), "list.0.url", "invalid_type", "list.0.url must be a string, not a number"),
            (json!({"list": {}}), "list.data", "missing_field", "list.data is required"),
            (json!({"list": 7}), "list", "invalid_type", "list must be a list, not a number"),
            (json!([]), "", "invalid_type", "The body must be an object, not a list"),
        ] {
            assert_eq!(refused(value), (param.to_owned(), code, message.to_owned()));
        }
    }

    #[test]
    fn null_is_absent_and_numbers_beyond_their_bounds_are_beyond_them() {
        let read = |value| read::<Outer>(value).map_err(|problem| problem.message).unwrap();
        assert_eq!(read(json!({"endpoint": null, "webhook": null, "metadata": null, "list": null})), read(json!({})));
        assert_eq!(read(json!({"priority": u64::MAX})).priority, Some(i64::MAX));
        assert_eq!(read(json!({"priority": -3})).priority, Some(-3));
        let inner = || vec![Inner { url: "u".into(), events: None }];
        assert_eq!(read(json!({"list": [{"url": "u"}]})).list, Some(Either::Bare(inner())));
        assert_eq!(read(json!({"list": {"data": [{"url": "u"}]}})).list, Some(Either::Wrapped { data: inner() }));
    }
}
