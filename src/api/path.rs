//! The identifiers in paths. One that can't be one names nothing, so it is not found.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::problem::Problem;
use super::query::whole;
use crate::domain::id::{DeadLetterId, JobId};
use crate::domain::rejection::Rejection;

/// The batch that the path names.
pub(super) struct BatchPath(pub(super) JobId);

/// The dead letter that the path names.
pub(super) struct LetterPath(pub(super) DeadLetterId);

impl<S: Send + Sync> FromRequestParts<S> for BatchPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named(parts, state, "batch", |id| JobId::new(id).ok()).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LetterPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named(parts, state, "dead letter", |id| whole(id).map(DeadLetterId)).await.map(Self)
    }
}

/// What `read` makes of the one identifier of a path.
async fn named<T>(
    parts: &mut Parts,
    state: &(impl Send + Sync),
    what: &'static str,
    read: fn(&str) -> Option<T>,
) -> Result<T, Problem> {
    // Percent-encoding that is not UTF-8.
    let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::no_such_path())?;
    let id = params.iter().next().map_or("", |(_, id)| id);
    let shown = || id.chars().take(64).collect::<String>();
    read(id).ok_or_else(|| Rejection::not_found(what, shown()).into())
}
