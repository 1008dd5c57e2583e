//! What a supervisor asks: whether the process lives, and whether it takes requests.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::problem::Problem;
use super::query::Params;
use super::{Shared, answer};

/// Answers as long as the process does.
pub(super) async fn health(_: Params<()>) -> Result<Response, Problem> {
    answer(StatusCode::OK, &json!({"status": "ok"}))
}

/// Whether commands are taken; else why not, in a word for a program and a sentence for a person.
pub(super) async fn ready(State(app): State<Shared>, _: Params<()>) -> Result<Response, Problem> {
    // Asked every few seconds, and the engine has logged it once.
    app.handle.health().map_err(|error| Problem::from(error).unlogged())?;
    answer(StatusCode::OK, &json!({"status": "ready"}))
}
