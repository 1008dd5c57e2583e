//! The parameters of a request's query, taken out one by one; what is left at the end is a mistake, and is named as one.
//!
//! Taking them also says what they may be: that is how the query is described.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::describe::{Describe, Operation};
use super::problem::Problem;
use crate::domain::id::JobId;
use crate::domain::time::Timestamp;
use crate::suggestion::did_you_mean;

/// What can be read from a query.
pub(super) trait FromQuery: Sized {
    /// Takes every parameter that there is. Any other is refused.
    fn take(query: &mut Query) -> Result<Self, Problem>;
}

/// No parameters at all.
impl FromQuery for () {
    fn take(_: &mut Query) -> Result<Self, Problem> {
        Ok(())
    }
}

/// A request's parameters.
pub(super) struct Params<T>(pub(super) T);

impl<T: FromQuery, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl<T: FromQuery> Describe for Params<T> {
    fn describe(operation: &mut Operation<'_>) {
        let mut query = Query { left: Vec::new(), known: Vec::new() };
        // Without parameters there is nothing that could be wrong.
        let _ = T::take(&mut query);
        for Known { name, schema, expected } in query.known {
            operation.parameter("query", name, &schema, &expected);
        }
        operation.problems(&[422]);
    }
}

/// The parameters that were not taken yet.
pub(super) struct Query {
    left: Vec<(String, String)>,
    known: Vec<Known>,
}

/// A parameter that there is.
struct Known {
    name: &'static str,
    schema: Value,
    /// What it may be, for a person.
    expected: String,
}

impl Query {
    fn read<T: FromQuery>(text: &str) -> Result<T, Problem> {
        let mut query =
            Self { left: form_urlencoded::parse(text.as_bytes()).into_owned().collect(), known: Vec::new() };
        let taken = T::take(&mut query)?;
        match query.left.first() {
            None => Ok(taken),
            Some((name, _)) => Err(query.surplus(name)),
        }
    }

    fn surplus(&self, name: &str) -> Problem {
        let name: String = name.chars().take(64).collect();
        let known: Vec<&str> = self.known.iter().map(|known| known.name).collect();
        if known.contains(&&*name) {
            let message = format!("The query parameter '{name}' is given twice");
            return Problem::invalid(name, "invalid_parameter", message);
        }
        let hint = did_you_mean(&name, &known);
        let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("Unknown query parameter '{name}'.{hint} Allowed parameters: {allowed}");
        Problem::invalid(name, "unknown_parameter", message)
    }

    /// What `read` makes of a parameter; `expected` and `schema` say what it may be.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: impl Into<String>,
        schema: Value,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let expected = expected.into();
        let given = self.left.iter().position(|(given, _)| given == name).map(|place| self.left.remove(place).1);
        let read = given.map(|text| {
            read(&text).ok_or_else(|| {
                let message = format!("The query parameter '{name}' must be {expected}");
                Problem::invalid(name, "invalid_parameter", message)
            })
        });
        self.known.push(Known { name, schema, expected });
        read.transpose()
    }

    /// Any text.
    pub(super) fn text(&mut self, name: &'static str, expected: &str) -> Result<Option<String>, Problem> {
        self.parsed(name, expected, json!({"type": "string"}), |text| Some(text.to_owned()))
    }

    /// One of some words.
    pub(super) fn word<T>(
        &mut self,
        name: &'static str,
        words: &[&str],
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let expected = format!("one of {}", words.join(", "));
        self.parsed(name, expected, json!({"type": "string", "enum": words}), read)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        self.parsed(name, "true or false", json!({"type": "boolean"}), |text| text.parse().ok())
    }

    /// A batch.
    pub(super) fn batch(&mut self, name: &'static str) -> Result<Option<JobId>, Problem> {
        self.id(name, "the id of a batch")
    }

    /// The beginning of batches' ids.
    pub(super) fn prefix(&mut self, name: &'static str) -> Result<Option<JobId>, Problem> {
        self.id(name, "the beginning of a batch's id, 1 to 64 characters out of A-Z, a-z, 0-9, '_' and '-'")
    }

    fn id(&mut self, name: &'static str, expected: &str) -> Result<Option<JobId>, Problem> {
        let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"});
        self.parsed(name, expected, schema, |id| JobId::new(id).ok())
    }

    /// A point in time.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let schema = json!({"type": "string", "format": "date-time"});
        self.parsed(name, "a time such as 2026-01-31T09:30:00Z", schema, |text| {
            // In a query a `+` stands for a space; in a time it can only have been the sign of the offset.
            read_time(&text.replace(' ', "+"))
        })
    }

    /// A whole number from 0 on: a position or an offset. It ends where other languages' integers do.
    pub(super) fn position(&mut self, name: &'static str) -> Result<Option<u64>, Problem> {
        let schema = json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX});
        let read = |text: &str| whole(text).filter(|number| i64::try_from(*number).is_ok());
        self.parsed(name, "a whole number from 0 on", schema, read)
    }

    /// A number of `range`.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let (start, end) = (range.start(), range.end());
        let expected = format!("a whole number from {start} to {end}");
        let schema = json!({"type": "integer", "minimum": start, "maximum": end});
        self.parsed(name, expected, schema, |text| whole(text).filter(|number| range.contains(number)))
    }

    /// How many entries of a list to give.
    pub(super) fn limit(&mut self, default: usize, max: u64) -> Result<usize, Problem> {
        let given = self.number("limit", 1..=max)?;
        Ok(given.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default))
    }
}

/// A time with an offset (RFC 3339).
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// A whole number in plain digits.
pub(super) fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Page(Option<u64>, Option<bool>);

    impl FromQuery for Page {
        fn take(query: &mut Query) -> Result<Self, Problem> {
            Ok(Self(query.number("limit", 1..=100)?, query.flag("force")?))
        }
    }

    #[test]
    fn parameters_are_read() {
        let read = |text| Query::read::<Page>(text).map_err(|problem| problem.code);
        assert_eq!(read(""), Ok(Page(None, None)));
        assert_eq!(read("limit=%31&force=true"), Ok(Page(Some(1), Some(true))));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, param, code, message) in [
            (
                "limit=0",
                "limit",
                "invalid_parameter",
                "The query parameter 'limit' must be a whole number from 1 to 100",
            ),
            (
                "limit=",
                "limit",
                "invalid_parameter",
                "The query parameter 'limit' must be a whole number from 1 to 100",
            ),
            (
                "limit=+5",
                "limit",
                "invalid_parameter",
                "The query parameter 'limit' must be a whole number from 1 to 100",
            ),
            ("force=yes", "force", "invalid_parameter", "The query parameter 'force' must be true or false"),
            ("limit=1&limit=2", "limit", "invalid_parameter", "The query parameter 'limit' is given twice"),
            (
                "limits=1",
                "limits",
                "unknown_parameter",
                "Unknown query parameter 'limits'. Did you mean 'limit'? Allowed parameters: limit, force",
            ),
        ] {
            let problem = Query::read::<Page>(text).unwrap_err();
            assert_eq!((problem.param.as_deref(), problem.code, &*problem.message), (Some(param), code, message));
        }
        assert_eq!(
            Query::read::<()>("a=b").unwrap_err().message,
            "Unknown query parameter 'a'. Allowed parameters: none"
        );
    }

    #[test]
    fn times_have_an_offset() {
        let nine = Some(Timestamp::from_millis(1_769_851_800_250));
        assert_eq!(read_time("2026-01-31T09:30:00.250Z"), nine);
        assert_eq!(read_time("2026-01-31T11:30:00.250+02:00"), nine);
        for bad in ["2026-01-31", "2026-01-31T09:30:00", "yesterday", "", "1769851800"] {
            assert_eq!(read_time(bad), None, "{bad}");
        }
    }
}
