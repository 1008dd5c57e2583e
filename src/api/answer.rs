//! Answers that are what they were asked for.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::describe::{Describe, Operation};
use super::problem::Problem;
use crate::runtime::Rendered;

/// An answer in JSON, under one status.
pub(super) struct Json<T, const STATUS: u16 = 200>(pub(super) T);

impl<T: Serialize, const STATUS: u16> IntoResponse for Json<T, STATUS> {
    fn into_response(self) -> Response {
        rendered(STATUS, None, &self.0).and_then(response).unwrap_or_else(IntoResponse::into_response)
    }
}

impl<T: JsonSchema, const STATUS: u16> Describe for Json<T, STATUS> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(STATUS, "What was asked for", &json!({}));
    }
}

/// An answer in JSON that has a version.
pub(super) struct Versioned<T> {
    pub(super) value: T,
    pub(super) version: Option<u64>,
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        rendered(200, self.version, &self.value).and_then(response).unwrap_or_else(IntoResponse::into_response)
    }
}

impl<T: JsonSchema> Describe for Versioned<T> {
    fn describe(operation: &mut Operation<'_>) {
        let tag = json!({"ETag": {"description": "Its version, for If-Match", "schema": {"type": "string"}}});
        operation.answer::<T>(200, "What was asked for", &tag);
    }
}

/// An answer in the form in which it can be kept.
pub(super) fn rendered(status: u16, version: Option<u64>, value: &impl Serialize) -> Result<Rendered, Problem> {
    Ok(Rendered { status, version, body: serde_json::to_vec(value).map_err(Problem::internal)? })
}

/// The answer itself.
pub(super) fn response(Rendered { status, version, body }: Rendered) -> Result<Response, Problem> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).map_err(Problem::internal)?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(version) = version {
        let tag = HeaderValue::try_from(format!("\"{version}\"")).map_err(Problem::internal)?;
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}
