//! What machines ask of the server itself: whether it lives, whether it takes requests, what it measures, what it is.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::Shared;
use super::answer::Json;
use super::describe::{Describe, Operation};
use super::problem::Problem;
use super::query::Params;
use crate::clock::{Clock, SystemClock};

/// How the server is, in a word.
#[derive(Serialize, JsonSchema)]
pub(super) struct StatusObject {
    /// `ok` or `ready`.
    status: &'static str,
}

/// `GET /health` answers as long as the process does.
pub(super) async fn health(_: Params<()>) -> Result<Json<StatusObject>, Problem> {
    Ok(Json(StatusObject { status: "ok" }))
}

/// `GET /ready`: whether commands are taken; else why not, in a word for a program and a sentence for a person.
pub(super) async fn ready(State(app): State<Shared>, _: Params<()>) -> Result<Json<StatusObject>, Problem> {
    // Asked every few seconds, and the engine has logged it once.
    app.handle.health().map_err(|error| Problem::from(error).unlogged())?;
    Ok(Json(StatusObject { status: "ready" }))
}

/// Metrics in Prometheus' text form.
pub(super) struct Metrics(String);

impl IntoResponse for Metrics {
    fn into_response(self) -> Response {
        with_type("text/plain; version=0.0.4; charset=utf-8", self.0.into())
    }
}

impl Describe for Metrics {
    fn describe(operation: &mut Operation<'_>) {
        operation.text(200, "Prometheus' text form, version 0.0.4", "text/plain");
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): State<Shared>, _: Params<()>) -> Result<Metrics, Problem> {
    app.handle.meter().text(SystemClock.now()).map(Metrics).map_err(Problem::internal)
}

/// The description of the API.
pub(super) struct Description(Bytes);

impl IntoResponse for Description {
    fn into_response(self) -> Response {
        with_type("application/json", self.0.into())
    }
}

impl Describe for Description {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<serde_json::Map<String, serde_json::Value>>(
            200,
            "An OpenAPI 3.1 document",
            &serde_json::json!({}),
        );
    }
}

/// `GET /openapi.json`
pub(super) async fn description(State(app): State<Shared>, _: Params<()>) -> Result<Description, Problem> {
    Ok(Description(app.description.get().cloned().unwrap_or_default()))
}

fn with_type(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
