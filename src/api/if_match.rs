//! The version that a report is held to (RFC 9110, section 13.1.1).

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use serde_json::json;

use super::describe::{Describe, Operation};
use super::problem::Problem;

/// The versions that `If-Match` names, any of which will do.
pub(super) enum IfMatch {
    /// Whatever it is.
    Any,
    /// One of these.
    Versions(Vec<u64>),
}

impl IfMatch {
    /// The version to hold a report to; `None` when any will do. `current` tells the present one, which the engine checks
    /// again.
    pub(super) fn version(&self, current: impl FnOnce() -> Result<u64, Problem>) -> Result<Option<u64>, Problem> {
        match self {
            Self::Any => Ok(None),
            Self::Versions(versions) => match **versions {
                [version] => Ok(Some(version)),
                // A list in which there is nothing names no version.
                [] => Ok(Some(0)),
                [first, ..] => current().map(|current| Some(if versions.contains(&current) { current } else { first })),
            },
        }
    }
}

impl IfMatch {
    /// With what one more header field says; `None` when that is no list of tags. Empty elements of the list are to be
    /// passed over (RFC 9110, section 5.6.1.2).
    fn and(self, field: &str) -> Option<Self> {
        let Self::Versions(mut versions) = self else { return Some(Self::Any) };
        if field.trim() == "*" {
            return Some(Self::Any);
        }
        for tag in field.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            versions.push(version(tag)?);
        }
        Some(Self::Versions(versions))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Ok(Self::Any);
        }
        let read = values.try_fold(Self::Versions(Vec::new()), |read, value| read.and(value.to_str().ok()?));
        read.ok_or_else(|| {
            let message = "If-Match is '*' or entity tags in double quotes, as ETag gives them: \"3\".";
            Problem::malformed("malformed_if_match", message)
        })
    }
}

impl Describe for IfMatch {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({"type": "string", "pattern": r#"^(\*|(W/)?"[!#-+.-~-]*"( *, *(W/)?"[!#-+.-~-]*")*)$"#});
        let description = "Refuses the report when the batch's version, as ETag gave it, is another one";
        operation.parameter("header", "If-Match", &schema, description);
        operation.problems(&[400, 409, 412]);
    }
}

/// The version of an entity tag: 0, which no batch has, when it is a tag but none of ours or a weak one, which never
/// matches; `None` when it is no tag at all.
fn version(tag: &str) -> Option<u64> {
    let (weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |quoted| (true, quoted));
    let inner = quoted.strip_prefix('"')?.strip_suffix('"').filter(|inner| !inner.contains('"'))?;
    Some(if weak { 0 } else { inner.parse().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_versions() {
        for (tag, expected) in [
            ("\"3\"", Some(3)),
            ("\"x\"", Some(0)),
            ("W/\"3\"", Some(0)),
            ("3", None),
            ("\"3", None),
            ("\"", None),
            ("", None),
        ] {
            assert_eq!(version(tag), expected, "{tag}");
        }
    }
}
