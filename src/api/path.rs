//! The identifiers in paths. One that can't be one names nothing, so it is not found.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use serde_json::json;

use super::describe::{Describe, Operation};
use super::problem::Problem;
use super::query::whole;
use crate::domain::id::{DeadLetterId, DeliveryId, JobId};
use crate::domain::rejection::Rejection;

/// The batch that the path names.
pub(super) struct BatchPath(pub(super) JobId);

/// The dead letter that the path names.
pub(super) struct LetterPath(pub(super) DeadLetterId);

/// The delivery that the path names.
pub(super) struct DeliveryPath(pub(super) DeliveryId);

impl Describe for BatchPath {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"});
        operation.parameter("path", "id", &schema, "The batch's id");
        operation.problems(&[404]);
    }
}

impl Describe for LetterPath {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameter("path", "id", &json!({"type": "integer", "minimum": 1}), "The dead letter's number");
        operation.problems(&[404]);
    }
}

impl Describe for DeliveryPath {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({"type": "string", "pattern": "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$"});
        operation.parameter("path", "id", &schema, "The delivery's id, as in the webhook-id header");
        operation.problems(&[404]);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named(parts, state, "delivery", |id| id.parse().ok()).await.map(Self)
    }
}

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
