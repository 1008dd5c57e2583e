//! Dead letters: seeing, retrying, deleting.

use std::ops::ControlFlow;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::batches::expect_no_fields;
use super::body::JsonBody;
use super::path::LetterPath;
use super::problem::Problem;
use super::query::{FromQuery, Params, Query};
use super::{App, Shared, answer, blocking};
use crate::domain::delivery::{Attempt, DeadLetter};
use crate::domain::event::{Envelope, Event};
use crate::domain::id::DeadLetterId;
use crate::domain::rejection::Rejection;
use filter::Filter;

mod filter;

/// Dead letters that are read at once while looking for those of a page.
const STRIDE: usize = 512;

/// A dead letter in the API: times are ISO 8601, UTC.
#[derive(Serialize)]
struct LetterObject {
    id: u64,
    batch_id: String,
    webhook_url: String,
    event: &'static str,
    delivery_id: String,
    error_message: String,
    attempts: u32,
    last_attempt_at: String,
    created_at: String,
    retried_at: Option<String>,
    retry_success: Option<bool>,
}

impl From<&DeadLetter> for LetterObject {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id.0,
            batch_id: letter.job.to_string(),
            webhook_url: letter.url.clone(),
            event: letter.kind.as_str(),
            delivery_id: letter.delivery.to_string(),
            error_message: letter.error.clone(),
            attempts: letter.attempts,
            last_attempt_at: letter.last_attempt_at.to_string(),
            created_at: letter.created_at.to_string(),
            retried_at: letter.retried_at.map(|at| at.to_string()),
            retry_success: letter.retry_success,
        }
    }
}

/// The query of `GET /v1/webhooks/dead-letter`.
pub(super) struct Listing {
    limit: usize,
    offset: usize,
    filter: Filter,
}

impl FromQuery for Listing {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self {
            limit: query.number("limit", 1..=1000)?.unwrap_or(100),
            offset: query.number("offset", 0..=usize::MAX)?.unwrap_or(0),
            filter: Filter::take(query)?,
        })
    }
}

#[derive(Serialize)]
struct Page {
    object: &'static str,
    data: Vec<LetterObject>,
    has_more: bool,
    total: u64,
}

/// `GET /v1/webhooks/dead-letter`
pub(super) async fn list(State(app): State<Shared>, Params(listing): Params<Listing>) -> Result<Response, Problem> {
    let page = blocking(&app, move |app| page(app, &listing)).await?;
    answer(StatusCode::OK, &page)
}

fn page(app: &App, listing: &Listing) -> Result<Page, Problem> {
    let Listing { limit, offset, filter } = listing;
    let counted = filter.is_empty().then(|| app.handle.views().totals().map(|totals| totals.dead_letters)).transpose();
    let counted = counted.map_err(Problem::storage)?;
    let (mut data, mut matched) = (Vec::new(), 0_usize);
    newest_first(app, |letter| {
        if filter.matches(letter) {
            if matched >= *offset && data.len() < *limit {
                data.push(LetterObject::from(letter));
            }
            matched += 1;
        }
        // Without a filter the total is known, and one more than the page tells whether there are more.
        let enough = counted.is_some() && matched > offset.saturating_add(*limit);
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let has_more = matched > offset.saturating_add(data.len()) && data.len() == *limit;
    Ok(Page { object: "list", data, has_more, total: counted.unwrap_or(matched as u64) })
}

/// Shows every dead letter to `see`, until that has seen enough.
fn newest_first(app: &App, mut see: impl FnMut(&DeadLetter) -> ControlFlow<()>) -> Result<(), Problem> {
    let mut before = None;
    loop {
        let letters = app.handle.views().dead_letters(before, STRIDE).map_err(Problem::storage)?;
        if letters.iter().try_for_each(&mut see).is_break() || letters.len() < STRIDE {
            return Ok(());
        }
        before = letters.last().map(|letter| letter.id);
    }
}

/// `GET /v1/webhooks/dead-letter/{id}`
pub(super) async fn show(
    State(app): State<Shared>,
    LetterPath(id): LetterPath,
    _: Params<()>,
) -> Result<Response, Problem> {
    let shown = blocking(&app, move |app| whole(app, id)).await?;
    answer(StatusCode::OK, &shown)
}

/// A dead letter with its payload and its attempts.
#[derive(Serialize)]
struct WholeLetter {
    #[serde(flatten)]
    letter: LetterObject,
    payload: Option<String>,
    attempt_history: Vec<Value>,
}

fn whole(app: &App, id: DeadLetterId) -> Result<WholeLetter, Problem> {
    let views = app.handle.views();
    let letter = views.dead_letter(id).map_err(Problem::storage)?;
    let letter = letter.ok_or_else(|| Problem::from(Rejection::not_found("dead letter", id)))?;
    let payload = views.payload(letter.delivery).map_err(Problem::storage)?;
    let payload = payload.map(String::from_utf8).transpose().map_err(Problem::storage)?;
    let job = views.job(&letter.job).map_err(Problem::storage)?;
    let history = job.map(|job| views.history(&job)).transpose().map_err(Problem::storage)?.unwrap_or_default();
    let told = history.iter().filter(|envelope| envelope.event.delivery() == Some(letter.delivery));
    let attempt_history = attempts(told).iter().map(attempt_object).collect();
    Ok(WholeLetter { letter: LetterObject::from(&letter), payload, attempt_history })
}

/// Every attempt that a delivery's events tell of: its row keeps only the newest.
fn attempts<'a>(events: impl Iterator<Item = &'a Envelope>) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for Envelope { at, event, .. } in events {
        match (event, attempts.last_mut()) {
            (Event::AttemptStarted { attempt, .. }, Some(again)) if again.number == *attempt => again.started_at = *at,
            (Event::AttemptStarted { attempt, .. }, _) => {
                attempts.push(Attempt { number: *attempt, started_at: *at, interruptions: 0, end: None });
            }
            (Event::AttemptSucceeded { end, .. } | Event::AttemptFailed { end, .. }, Some(newest)) => {
                newest.end = Some(end.clone());
            }
            (Event::AttemptInterrupted { .. }, Some(newest)) => newest.interruptions += 1,
            _ => {}
        }
    }
    attempts
}

fn attempt_object(attempt: &Attempt) -> Value {
    let end = attempt.end.as_ref();
    json!({
        "number": attempt.number,
        "started_at": attempt.started_at.to_string(),
        "duration_ms": end.map(|end| end.duration_ms),
        "status_code": end.and_then(|end| end.status_code),
        "error": end.and_then(|end| end.error.as_deref()),
        "response_excerpt": end.and_then(|end| end.excerpt.as_deref()),
    })
}

/// The query of a retry.
pub(super) struct RetryOptions {
    force: bool,
    wait: bool,
}

impl FromQuery for RetryOptions {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self { force: query.flag("force")?.unwrap_or(false), wait: query.flag("wait")?.unwrap_or(true) })
    }
}

/// `POST /v1/webhooks/dead-letter/{id}/retry`
pub(super) async fn retry(
    State(app): State<Shared>,
    LetterPath(id): LetterPath,
    Params(RetryOptions { force, wait }): Params<RetryOptions>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    expect_no_fields(body)?;
    let retried = app.handle.retry_dead_letter(id, force, wait).await?;
    let status = if wait { StatusCode::OK } else { StatusCode::ACCEPTED };
    let shown = json!({
        "id": retried.id.0,
        "batch_id": retried.job.as_str(),
        "retry_success": retried.success,
        "retried_at": retried.retried_at.map(|at| at.to_string()),
        "forced": retried.forced,
    });
    answer(status, &shown)
}

/// `DELETE /v1/webhooks/dead-letter/{id}`
pub(super) async fn delete(
    State(app): State<Shared>,
    LetterPath(id): LetterPath,
    _: Params<()>,
) -> Result<Response, Problem> {
    app.handle.delete_dead_letter(id).await?;
    answer(StatusCode::OK, &json!({"deleted": true, "id": id.0}))
}

/// Another method on a dead letter. On what is no dead letter's number there is nothing at all, whatever the method.
pub(super) async fn other_method(_: LetterPath) -> Problem {
    Problem::method_not_allowed()
}
