//! The parameters of a request's query, taken out one by one like the [fields](super::fields) of a body.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::fields::did_you_mean;
use super::problem::Problem;

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

/// The parameters that were not taken yet.
pub(super) struct Query {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
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
        if self.known.contains(&&*name) {
            let message = format!("The query parameter '{name}' is given twice");
            return Problem::invalid(name, "invalid_parameter", message);
        }
        let hint = did_you_mean(&name, &self.known);
        let allowed = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let message = format!("Unknown query parameter '{name}'.{hint} Allowed parameters: {allowed}");
        Problem::invalid(name, "unknown_parameter", message)
    }

    /// The text of a parameter.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let place = self.left.iter().position(|(given, _)| given == name)?;
        Some(self.left.remove(place).1)
    }

    /// What `read` makes of a parameter; `expected` says what it may be.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| {
            Problem::invalid(name, "invalid_parameter", format!("The query parameter '{name}' must be {expected}"))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// A number of `range`.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, Problem> {
        let expected = match *range.end() {
            usize::MAX => format!("a whole number from {} on", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        self.parsed(name, &expected, |text| whole(text)?.try_into().ok().filter(|number| range.contains(number)))
    }
}

/// A whole number in plain digits.
pub(super) fn whole(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Page(Option<usize>, Option<bool>);

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
}
