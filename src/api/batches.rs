//! Batches: registering, seeing, listing, reporting, cancelling.

use std::fmt;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Json, Versioned, rendered};
use super::body::{JsonBody, MaybeBody, Nothing};
use super::events::EventObject;
use super::if_match::IfMatch;
use super::once::Keeper;
use super::page::Page;
use super::path::BatchPath;
use super::problem::Problem;
use super::query::{FromQuery, Params, Query};
use super::registration::{Change, NewBatch, Registration};
use super::{App, Shared, blocking};
use crate::domain::batch::BatchObject;
use crate::domain::id::{JobId, Seq};
use crate::domain::job::{Job, Status};
use crate::domain::rejection::Rejection;
use crate::runtime::{Answer, Rendered};

/// `POST /v1/batches`
pub(super) async fn create(
    State(app): State<Shared>,
    _: Params<()>,
    keeper: Keeper,
    JsonBody(body): JsonBody<NewBatch>,
) -> Result<Versioned<BatchObject>, Problem> {
    let Registration { id, spec, confidential, url_param } = body.try_into()?;
    // What is no URL at all the engine refuses, in its own words.
    if let Some(webhook) = spec.webhook.as_ref().filter(|webhook| webhook.check(true).is_ok()) {
        let why = app.options.destinations.check(&webhook.url);
        why.map_err(|why| {
            Problem::invalid(url_param, "invalid_url", format!("{url_param} can't be delivered to: {why}"))
        })?;
    }
    let registered = app.handle.keeping(keeper.keep(kept)).register(id, spec, confidential).await;
    let job = registered.map_err(|error| Problem::from(error).renamed("webhook.url", url_param))?;
    Ok(shown(&job))
}

/// The query of `GET /v1/batches/{id}`.
pub(super) struct Look {
    at: Option<u64>,
}

impl FromQuery for Look {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self { at: query.position("at")? })
    }
}

/// `GET /v1/batches/{id}`
pub(super) async fn show(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    Params(Look { at }): Params<Look>,
) -> Result<Versioned<BatchObject>, Problem> {
    let Some(at) = at else { return Ok(shown(&find(&app, &id)?)) };
    let job = blocking(&app, move |app| {
        let head = app.handle.log().tail();
        if Seq(at) > head {
            let message = format!("The log ends at position {head}; there is no position {at} yet.");
            return Err(Problem::invalid("at", "invalid_parameter", message));
        }
        let job = app.handle.views().job_at(&id, Seq(at)).or_else(|error| unread(app, &id, error))?;
        job.ok_or_else(|| Rejection::not_found("batch", id).into())
    });
    // The version is the one of that time: it is no version to be held to any more.
    Ok(Versioned { version: None, ..shown(&job.await?) })
}

/// `PATCH /v1/batches/{id}`
pub(super) async fn report(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
    if_match: IfMatch,
    MaybeBody(body): MaybeBody<Change>,
) -> Result<Versioned<BatchObject>, Problem> {
    let (report, rotation) = body.unwrap_or_default().read()?;
    let if_match = if_match.version(|| Ok(find(&app, &id)?.version))?;
    let reply = match rotation {
        Some((secret, overlap)) => app.handle.rotate(id, secret, overlap, report, if_match),
        None => app.handle.report(id, report, if_match),
    };
    Ok(shown(&reply.await?))
}

/// `POST /v1/batches/{id}/cancel`
pub(super) async fn cancel(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
    keeper: Keeper,
    _: MaybeBody<Nothing>,
) -> Result<Versioned<BatchObject>, Problem> {
    Ok(shown(&app.handle.keeping(keeper.keep(kept)).cancel(id).await?))
}

/// A batch of whose deliveries nothing can be sent any more.
#[derive(Serialize, JsonSchema)]
pub(super) struct Erased {
    /// The batch.
    id: String,
    /// How many payloads were erased; 0 when there was none any more.
    erased: usize,
}

/// `DELETE /v1/batches/{id}/payloads`
pub(super) async fn erase_payloads(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
) -> Result<Json<Erased>, Problem> {
    let erased = app.handle.erase_payloads(id.clone()).await?;
    Ok(Json(Erased { id: id.to_string(), erased }))
}

pub(super) fn find(app: &App, id: &JobId) -> Result<Job, Problem> {
    let job = app.handle.views().job(id).map_err(Problem::storage)?;
    job.ok_or_else(|| Rejection::not_found("batch", id).into())
}

/// Why a batch's events can't be read: it may have been pruned meanwhile, and is not found any more.
fn unread<T>(app: &App, id: &JobId, error: impl fmt::Display) -> Result<T, Problem> {
    find(app, id).and_then(|_| Err(Problem::storage(error)))
}

fn shown(job: &Job) -> Versioned<BatchObject> {
    Versioned { value: job.into(), version: Some(job.version) }
}

fn kept(answer: &Answer) -> Result<Rendered, Problem> {
    match answer {
        Answer::Job(job) => rendered(200, Some(job.version), &BatchObject::from(&**job)),
        _ => Err(Problem::internal("another answer than a job")),
    }
}

/// The query of `GET /v1/batches`.
pub(super) struct Listing {
    limit: usize,
    after: Option<JobId>,
    status: Option<Status>,
    /// Those whose ids begin so, by id; else all, newest first.
    prefix: Option<JobId>,
}

impl FromQuery for Listing {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self {
            limit: query.limit(20, 100)?,
            after: query.batch("after")?,
            status: query.word("status", &Status::ALL.map(Status::as_str), |name| Status::parse(name).ok())?,
            prefix: query.prefix("prefix")?,
        })
    }
}

/// `GET /v1/batches`
pub(super) async fn list(
    State(app): State<Shared>,
    Params(Listing { limit, after, status, prefix }): Params<Listing>,
) -> Result<Json<Page<BatchObject>>, Problem> {
    let read = blocking(&app, move |app| {
        let views = app.handle.views();
        if let Some(prefix) = prefix {
            let jobs = views.jobs_named(prefix.as_str(), status, after.as_ref(), limit + 1);
            return jobs.map_err(Problem::storage);
        }
        let before = match after {
            None => None,
            Some(id) => {
                let job = views.job(&id).map_err(Problem::storage)?;
                let unknown =
                    || Problem::invalid("after", "invalid_parameter", format!("There is no batch with id '{id}'"));
                Some(job.ok_or_else(unknown)?.registered)
            }
        };
        views.jobs(status, before, limit + 1).map_err(Problem::storage)
    });
    let batches = read.await?.iter().map(BatchObject::from).collect();
    Ok(Json(Page::of(batches, limit, |batch: &BatchObject| batch.id.clone())))
}

/// `GET /v1/batches/{id}/history`
pub(super) async fn history(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    Params(Telling { after, limit }): Params<Telling>,
) -> Result<Json<History>, Problem> {
    let read = blocking(&app, move |app| {
        let job = find(app, &id)?;
        let events = app.handle.views().history_after(&job, Seq(after), limit + 1);
        let mut events = events.or_else(|error| unread(app, &id, error))?;
        let has_more = events.len() > limit;
        events.truncate(limit);
        let data = events.iter().map(EventObject::from).collect();
        Ok(History { object: "list", data, has_more })
    });
    read.await.map(Json)
}

/// The query of `GET /v1/batches/{id}/history`.
pub(super) struct Telling {
    after: u64,
    limit: usize,
}

impl FromQuery for Telling {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        let after = query.position("after")?.unwrap_or(0);
        Ok(Self { after, limit: query.limit(1000, 1000)? })
    }
}

/// A batch's events, oldest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct History {
    /// Always `list`.
    object: &'static str,
    data: Vec<EventObject>,
    /// Whether there are more after these: `after` takes the `seq` of the last one.
    has_more: bool,
}
