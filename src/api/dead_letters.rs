//! Dead letters: seeing, retrying, deleting, one by one.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{self, Json, rendered};
use super::attempts::{self, AttemptObject};
use super::body::{MaybeBody, Nothing};
use super::describe::{Describe, Operation};
use super::once::Keeper;
use super::path::LetterPath;
use super::problem::Problem;
use super::query::{FromQuery, Params, Query};
use super::{App, Shared, blocking};
use crate::domain::delivery::DeadLetter;
use crate::domain::id::DeadLetterId;
use crate::domain::rejection::Rejection;
use crate::domain::webhook::EventKind;
use crate::runtime::{Answer, Rendered, Retried};
use crate::views::LetterFilter;

/// A dead letter: a delivery that was given up. Times are ISO 8601, UTC.
#[derive(Serialize, JsonSchema)]
pub(super) struct LetterObject {
    /// Its number.
    id: u64,
    /// The batch that it tells of.
    batch_id: String,
    /// Where it was to go.
    webhook_url: String,
    /// What it was to tell.
    event: &'static str,
    /// The delivery.
    delivery_id: String,
    /// The newest failure, at most 200 characters.
    error_message: String,
    /// Attempts made.
    attempts: u32,
    /// When the newest of them began.
    last_attempt_at: String,
    /// When it was given up.
    created_at: String,
    /// When its newest retry ended.
    retried_at: Option<String>,
    /// Whether any retry succeeded; null before the first has ended.
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
    offset: u64,
    filter: LetterFilter,
}

impl FromQuery for Listing {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        let filter = LetterFilter {
            job: query.batch("batch_id")?,
            kind: query.word("event", &EventKind::ALL.map(EventKind::as_str), EventKind::parse)?,
            url: query.text("url", "the whole URL of a webhook")?,
            resolved: query.flag("resolved")?,
            since: query.time("since")?,
            until: query.time("until")?,
        };
        Ok(Self { limit: query.limit(100, 1000)?, offset: query.position("offset")?.unwrap_or(0), filter })
    }
}

/// A page of dead letters, newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct LetterList {
    /// Always `list`.
    object: &'static str,
    data: Vec<LetterObject>,
    /// Whether there are more after these.
    has_more: bool,
    /// How many match in all.
    total: u64,
}

/// `GET /v1/webhooks/dead-letter`
pub(super) async fn list(
    State(app): State<Shared>,
    Params(Listing { limit, offset, filter }): Params<Listing>,
) -> Result<Json<LetterList>, Problem> {
    let read =
        blocking(&app, move |app| app.handle.views().letter_page(&filter, offset, limit).map_err(Problem::storage));
    let page = read.await?;
    let data: Vec<_> = page.letters.iter().map(LetterObject::from).collect();
    let has_more = offset.saturating_add(limit as u64) < page.total;
    Ok(Json(LetterList { object: "list", data, has_more, total: page.total }))
}

/// A dead letter with its payload and its attempts.
#[derive(Serialize, JsonSchema)]
pub(super) struct WholeLetter {
    #[serde(flatten)]
    letter: LetterObject,
    /// The exact bytes that are sent; null when they were erased.
    payload: Option<String>,
    /// Every attempt, oldest first.
    attempt_history: Vec<AttemptObject>,
}

/// `GET /v1/webhooks/dead-letter/{id}`
pub(super) async fn show(
    State(app): State<Shared>,
    LetterPath(id): LetterPath,
    _: Params<()>,
) -> Result<Json<WholeLetter>, Problem> {
    blocking(&app, move |app| whole(app, id)).await.map(Json)
}

fn whole(app: &App, id: DeadLetterId) -> Result<WholeLetter, Problem> {
    let views = app.handle.views();
    let letter = views.dead_letter(id).map_err(Problem::storage)?;
    let letter = letter.ok_or_else(|| Problem::from(Rejection::not_found("dead letter", id)))?;
    let payload = views.payload(letter.delivery).map_err(Problem::storage)?;
    let payload = payload.map(String::from_utf8).transpose().map_err(Problem::storage)?;
    let delivery = views.delivery(letter.delivery).map_err(Problem::storage)?;
    let attempt_history = delivery.map(|delivery| attempts::all(app, &delivery)).transpose()?.unwrap_or_default();
    Ok(WholeLetter { letter: LetterObject::from(&letter), payload, attempt_history })
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

/// What became of a retry.
#[derive(Serialize, JsonSchema)]
pub(super) struct RetriedObject {
    /// The dead letter's number.
    id: u64,
    /// The batch that it tells of.
    batch_id: String,
    /// Whether the receiver took it; null when that was not waited for.
    retry_success: Option<bool>,
    /// When the attempt ended.
    retried_at: Option<String>,
    /// Whether it was asked for with force.
    forced: bool,
}

impl From<&Retried> for RetriedObject {
    fn from(retried: &Retried) -> Self {
        Self {
            id: retried.id.0,
            batch_id: retried.job.to_string(),
            retry_success: retried.success,
            retried_at: retried.retried_at.map(|at| at.to_string()),
            forced: retried.forced,
        }
    }
}

/// A retry's answer: 200 when it was waited for, else 202.
pub(super) struct RetryAnswer(Rendered);

impl IntoResponse for RetryAnswer {
    fn into_response(self) -> Response {
        answer::response(self.0).unwrap_or_else(IntoResponse::into_response)
    }
}

impl Describe for RetryAnswer {
    fn describe(operation: &mut Operation<'_>) {
        let none = serde_json::json!({});
        operation.answer::<RetriedObject>(200, "The attempt has ended", &none);
        operation.answer::<RetriedObject>(202, "The attempt will be made", &none);
        operation.problems(&[400, 409]);
    }
}

/// `POST /v1/webhooks/dead-letter/{id}/retry`
pub(super) async fn retry(
    State(app): State<Shared>,
    LetterPath(id): LetterPath,
    Params(RetryOptions { force, wait }): Params<RetryOptions>,
    keeper: Keeper,
    _: MaybeBody<Nothing>,
) -> Result<RetryAnswer, Problem> {
    let status = if wait { 200 } else { 202 };
    let kept = move |answer: &Answer| match answer {
        Answer::Retried(retried) => rendered(status, None, &RetriedObject::from(retried)),
        _ => Err(Problem::internal("another answer than a retry")),
    };
    let retried = app.handle.keeping(keeper.keep(kept)).retry_dead_letter(id, force, wait).await?;
    rendered(status, None, &RetriedObject::from(&retried)).map(RetryAnswer)
}

/// A dead letter that is gone.
#[derive(Serialize, JsonSchema)]
pub(super) struct Deleted {
    /// Always true.
    deleted: bool,
    /// Its number.
    id: u64,
}

/// `DELETE /v1/webhooks/dead-letter/{id}`
pub(super) async fn delete(
    State(app): State<Shared>,
    LetterPath(id): LetterPath,
    _: Params<()>,
) -> Result<Json<Deleted>, Problem> {
    app.handle.delete_dead_letter(id).await?;
    Ok(Json(Deleted { deleted: true, id: id.0 }))
}
