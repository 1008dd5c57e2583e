//! Many dead letters at once: chosen by a filter, and retried or deleted some hundred in each commit.
//!
//! A bulk request is not one transaction. Whoever asked may go away, and it goes on; when the process ends in the middle,
//! the same request again does the rest, for what is on its way already is passed over.

use std::time::Duration;

use axum::extract::State;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::answer::{Json, rendered};
use super::body::JsonBody;
use super::once::Keeper;
use super::problem::Problem;
use super::query::{Params, read_time};
use super::{App, Shared, blocking, schema};
use crate::domain::id::{DeadLetterId, JobId};
use crate::domain::time::Timestamp;
use crate::domain::webhook::EventKind;
use crate::runtime::{Answer, Error, Kept, Rendered, Reply};
use crate::views::LetterFilter;

/// Dead letters in one commit.
const CHUNK: usize = 256;

/// How long to leave a full queue alone.
const BUSY: Duration = Duration::from_millis(50);

/// Which dead letters are meant: at least one of these.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1))]
struct Choice {
    /// Of this batch.
    #[serde(default)]
    #[schemars(schema_with = "batch_id")]
    batch_id: Option<String>,
    /// Of this event.
    #[serde(default)]
    #[schemars(schema_with = "event")]
    event: Option<String>,
    /// To exactly this URL.
    url: Option<String>,
    /// Whether a retry has succeeded.
    resolved: Option<bool>,
    /// Given up at this time or later, such as `2026-01-31T09:30:00Z`.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Given up before this time.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
}

/// Which dead letters to retry.
#[derive(Deserialize, JsonSchema)]
pub(super) struct BulkRetry {
    #[serde(flatten)]
    choice: Choice,
    /// Only say how many it would be.
    dry_run: Option<bool>,
    /// Also those of which a retry has succeeded.
    force: Option<bool>,
}

schema::body!(BulkRetry);

/// Which dead letters to delete.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Purge {
    #[serde(flatten)]
    choice: Choice,
    /// Only say how many it would be.
    dry_run: Option<bool>,
}

schema::body!(Purge);

fn batch_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "pattern": "^[A-Za-z0-9_-]{1,64}$"})
}

fn event(_: &mut SchemaGenerator) -> Schema {
    let names = EventKind::ALL.map(EventKind::as_str).map(Some).into_iter().chain([None]).collect::<Vec<_>>();
    json_schema!({"type": ["string", "null"], "enum": names})
}

impl TryFrom<Choice> for LetterFilter {
    type Error = Problem;

    fn try_from(choice: Choice) -> Result<Self, Problem> {
        let job = choice
            .batch_id
            .map(|id| JobId::new(&id).map_err(|error| Problem::invalid("batch_id", "invalid_id", error.to_string())));
        let kind = choice.event.map(|name| {
            let names = EventKind::ALL.map(EventKind::as_str).join(", ");
            let invalid = || Problem::invalid("event", "invalid_event", format!("event must be one of {names}"));
            EventKind::parse(&name).ok_or_else(invalid)
        });
        let filter = Self {
            job: job.transpose()?,
            kind: kind.transpose()?,
            url: choice.url,
            resolved: choice.resolved,
            since: time("since", choice.since)?,
            until: time("until", choice.until)?,
        };
        if filter.is_empty() {
            let message = "Say which: give at least one of batch_id, event, url, resolved, since and until.";
            let problem = Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, "missing_filter", message);
            return Err(problem);
        }
        Ok(filter)
    }
}

fn time(name: &'static str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let invalid =
        || Problem::invalid(name, "invalid_time", format!("{name} must be a time such as 2026-01-31T09:30:00Z"));
    text.map(|text| read_time(&text).ok_or_else(invalid)).transpose()
}

/// What became of a bulk retry.
#[derive(Serialize, JsonSchema)]
pub(super) struct BulkRetried {
    /// How many dead letters were meant.
    matched: usize,
    /// How many of them will be tried once more.
    queued: usize,
    /// How many were passed over: delivered already (without force), on their way, or their payload erased.
    skipped: usize,
}

impl BulkRetried {
    const fn of(matched: usize, queued: usize) -> Self {
        Self { matched, queued, skipped: matched.saturating_sub(queued) }
    }
}

/// What became of a purge.
#[derive(Serialize, JsonSchema)]
pub(super) struct Purged {
    /// How many dead letters are gone.
    deleted: usize,
}

/// `POST /v1/webhooks/dead-letter/retry`
pub(super) async fn retry(
    State(app): State<Shared>,
    _: Params<()>,
    keeper: Keeper,
    JsonBody(BulkRetry { choice, dry_run, force }): JsonBody<BulkRetry>,
) -> Result<Json<BulkRetried, 202>, Problem> {
    let (filter, force) = (LetterFilter::try_from(choice)?, force.unwrap_or(false));
    let ids = chosen(&app, filter).await?;
    let matched = ids.len();
    if dry_run.unwrap_or(false) {
        let queued = blocking(&app, move |app| would_retry(app, &ids, force)).await?;
        // Of none of them: so this answer is kept like any other.
        let keep = keeper.keep(move |_| rendered(202, None, &BulkRetried::of(matched, queued)));
        app.handle.keeping(keep).retry_dead_letters(Vec::new(), force).await?;
        return Ok(Json(BulkRetried::of(matched, queued)));
    }
    let send = move |handle: Kept<'_>, chunk| handle.retry_dead_letters(chunk, force);
    let render = move |queued| rendered(202, None, &BulkRetried::of(matched, queued));
    let going = tokio::spawn(in_chunks(app, ids, keeper, send, render));
    Ok(Json(BulkRetried::of(matched, going.await.map_err(Problem::internal)??)))
}

/// `POST /v1/webhooks/dead-letter/purge`
pub(super) async fn purge(
    State(app): State<Shared>,
    _: Params<()>,
    keeper: Keeper,
    JsonBody(Purge { choice, dry_run }): JsonBody<Purge>,
) -> Result<Json<Purged>, Problem> {
    let ids = chosen(&app, choice.try_into()?).await?;
    if dry_run.unwrap_or(false) {
        let deleted = ids.len();
        let keep = keeper.keep(move |_| rendered(200, None, &Purged { deleted }));
        app.handle.keeping(keep).delete_dead_letters(Vec::new()).await?;
        return Ok(Json(Purged { deleted }));
    }
    let send = |handle: Kept<'_>, chunk| handle.delete_dead_letters(chunk);
    let render = |deleted| rendered(200, None, &Purged { deleted });
    let going = tokio::spawn(in_chunks(app, ids, keeper, send, render));
    Ok(Json(Purged { deleted: going.await.map_err(Problem::internal)?? }))
}

/// Hands `ids` to the engine some hundred at a time, and says how many it was carried out on. The answer that `render` makes
/// of that is kept with the last commit: until then there is none.
async fn in_chunks(
    app: Shared,
    ids: Vec<DeadLetterId>,
    keeper: Keeper,
    send: impl Fn(Kept<'_>, Vec<DeadLetterId>) -> Reply<usize>,
    render: impl Fn(usize) -> Result<Rendered, Problem> + Copy + Send + Sync + 'static,
) -> Result<usize, Problem> {
    let (mut done, mut keeper) = (0, Some(keeper));
    let mut chunks = ids.chunks(CHUNK).peekable();
    let mut is_first = true;
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let last = if chunks.peek().is_none() { keeper.take() } else { None };
        let keep = last.and_then(|keeper| keeper.keep(move |answer| render(done + many(answer)?)));
        done += loop {
            match send(app.handle.keeping(keep.clone()), chunk.to_vec()).await {
                // What was begun is gone on with.
                Err(Error::Overloaded) if !is_first => tokio::time::sleep(BUSY).await,
                answered => break answered?,
            }
        };
        is_first = false;
        if chunks.peek().is_none() {
            return Ok(done);
        }
    }
}

/// How many of `ids` a retry would not pass over.
fn would_retry(app: &App, ids: &[DeadLetterId], force: bool) -> Result<usize, Problem> {
    let views = app.handle.views();
    let mut many = 0;
    for id in ids {
        let Some(letter) = views.dead_letter(*id).map_err(Problem::storage)? else { continue };
        let delivery = views.delivery(letter.delivery).map_err(Problem::storage)?;
        let Some(delivery) = delivery.filter(|delivery| delivery.may_be_redelivered(force)) else { continue };
        let job = views.job(&delivery.job).map_err(Problem::storage)?;
        many += usize::from(job.is_some_and(|job| !job.has_erased(&delivery)));
    }
    Ok(many)
}

async fn chosen(app: &Shared, filter: LetterFilter) -> Result<Vec<DeadLetterId>, Problem> {
    blocking(app, move |app| {
        let views = app.handle.views();
        let blocks = views.letter_numbers(&filter).map_err(Problem::storage)?;
        let blocks: Result<Vec<_>, _> = blocks.collect();
        Ok(blocks.map_err(Problem::storage)?.concat())
    })
    .await
}

fn many(answer: &Answer) -> Result<usize, Problem> {
    match answer {
        Answer::Many(many) => Ok(*many),
        _ => Err(Problem::internal("another answer than a number")),
    }
}
