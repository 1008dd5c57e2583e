//! The fields of a JSON object, taken out one by one; what is left at the end is a mistake, and is named as one.
//!
//! `null` means the same as leaving a field out. A value of the wrong type is refused with the field's whole path,
//! `webhook.timeout`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::problem::Problem;

/// The fields of an object that were not taken yet.
pub(super) struct Fields {
    /// The object's own path; empty for the body itself.
    path: Cow<'static, str>,
    left: Map<String, Value>,
    /// What was asked for: the fields that there are.
    known: Vec<&'static str>,
}

impl Fields {
    /// Reads an object with `take`, which asks for every field that there is. Any other field is refused.
    pub(super) fn read<T>(
        value: Value,
        path: impl Into<Cow<'static, str>>,
        take: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let path = path.into();
        let Value::Object(left) = value else {
            return Err(match &*path {
                "" => {
                    Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, "invalid_type", "The body is no object.")
                }
                _ => wrong_type(path, "an object", &value),
            });
        };
        let mut fields = Self { path, left, known: Vec::with_capacity(16) };
        let taken = take(&mut fields)?;
        match fields.left.keys().next() {
            None => Ok(taken),
            Some(name) => Err(fields.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> Problem {
        let shown: String = name.chars().take(64).collect();
        let allowed = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let hint = did_you_mean(&shown, &self.known);
        let message = format!("Unknown field '{}'.{hint} Allowed fields: {allowed}", self.path_of(&shown));
        Problem::invalid(self.path_of(&shown).into_owned(), "unknown_field", message)
    }

    fn path_of<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path).into() }
    }

    /// The value of a field, whatever it is.
    pub(super) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        read(value).map(Some).map_err(|value| wrong_type(self.path_of(name), expected, &value))
    }

    /// A text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.typed(name, "a string", |value| if let Value::String(text) = value { Ok(text) } else { Err(value) })
    }

    /// A whole number from 0 on.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<u64>, Problem> {
        self.typed(name, "a whole number from 0 on", |value| value.as_u64().ok_or(value))
    }

    /// A whole number. One beyond `i64` is the nearest that is not: it is out of every field's bounds all the same.
    pub(super) fn integer(&mut self, name: &'static str) -> Result<Option<i64>, Problem> {
        let read = |value: Value| match (value.as_i64(), value.as_u64()) {
            (Some(number), _) => Ok(number),
            (None, Some(_)) => Ok(i64::MAX),
            (None, None) => Err(value),
        };
        self.typed(name, "a whole number", read)
    }

    /// A list.
    pub(super) fn list(&mut self, name: &'static str) -> Result<Option<Vec<Value>>, Problem> {
        self.typed(name, "a list", |value| if let Value::Array(list) = value { Ok(list) } else { Err(value) })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Problem> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let text = |value| match value {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(self.path_of(name), "a list of strings", &other)),
        };
        list.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// Any pairs of texts.
    pub(super) fn pairs<T: FromIterator<(String, String)>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        let expected = "an object with strings for values";
        let read = |value| if let Value::Object(pairs) = value { Ok(pairs) } else { Err(value) };
        let Some(pairs) = self.typed(name, expected, read)? else { return Ok(None) };
        let pair = |(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            other => Err(wrong_type(self.path_of(name), expected, &other)),
        };
        pairs.into_iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// An object, read with `take` as by [`Fields::read`].
    pub(super) fn object<T>(
        &mut self,
        name: &'static str,
        take: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        Self::read(value, self.path_of(name), take).map(Some)
    }
}

/// Says what came instead, without repeating it: it may be a secret in the wrong place.
fn wrong_type(path: Cow<'_, str>, expected: &str, value: &Value) -> Problem {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let message = format!("{path} must be {expected}, not {got}");
    Problem::invalid(path.into_owned(), "invalid_type", message)
}

/// A hint at the known name that was probably meant, as a sentence with a space before it; empty when there is none.
pub(super) fn did_you_mean(name: &str, known: &[&'static str]) -> String {
    let nearest = known.iter().map(|known| (distance(name, known), known)).min();
    nearest
        .filter(|(far, known)| *far <= known.len() / 3)
        .map_or_else(String::new, |(_, known)| format!(" Did you mean '{known}'?"))
}

/// How many bytes have to be put in, taken out or exchanged to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let exchanged = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(value: Value) -> (String, &'static str, String) {
        let problem = Fields::read(value, "", |fields| {
            fields.text("endpoint")?;
            fields.object("webhook", |webhook| {
                webhook.integer("timeout")?;
                webhook.texts("events")
            })?;
            fields.pairs::<Vec<_>>("metadata")
        })
        .unwrap_err();
        (problem.param.unwrap_or_default().into_owned(), problem.code, problem.message)
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        for (value, param, code, message) in [
            (json!({"endpoint": 1}), "endpoint", "invalid_type", "endpoint must be a string, not a number"),
            (
                json!({"webhook": {"timeout": 1.5}}),
                "webhook.timeout",
                "invalid_type",
                "webhook.timeout must be a whole number, not a fraction",
            ),
            (
                json!({"webhook": {"events": ["a", 1]}}),
                "webhook.events",
                "invalid_type",
                "webhook.events must be a list of strings, not a number",
            ),
            (
                json!({"webhook": {"time_out": 7}}),
                "webhook.time_out",
                "unknown_field",
                "Unknown field 'webhook.time_out'. Did you mean 'timeout'? Allowed fields: timeout, events",
            ),
            (
                json!({"x": null}),
                "x",
                "unknown_field",
                "Unknown field 'x'. Allowed fields: endpoint, webhook, metadata",
            ),
            (
                json!({"metadata": {"a": true}}),
                "metadata",
                "invalid_type",
                "metadata must be an object with strings for values, not a boolean",
            ),
            (json!([]), "", "invalid_type", "The body is no object."),
        ] {
            assert_eq!(refused(value), (param.to_owned(), code, message.to_owned()));
        }
    }

    #[test]
    fn null_is_absent_and_huge_numbers_are_the_largest() {
        let read = |value| {
            Fields::read(value, "", |fields| Ok((fields.integer("a")?, fields.text("b")?)))
                .map_err(|problem| problem.code)
        };
        assert_eq!(read(json!({"a": null, "b": null})), Ok((None, None)));
        assert_eq!(read(json!({"a": u64::MAX})), Ok((Some(i64::MAX), None)));
        assert_eq!(read(json!({"a": -3})), Ok((Some(-3), None)));
    }

    #[test]
    fn hints_are_given_for_near_names_only() {
        assert_eq!(did_you_mean("webook", &["endpoint", "webhook"]), " Did you mean 'webhook'?");
        assert_eq!(did_you_mean("colour", &["endpoint", "webhook", "id"]), "");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }
}
