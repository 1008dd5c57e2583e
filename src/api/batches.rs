//! Batches: registering, seeing, reporting, cancelling.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::body::JsonBody;
use super::fields::Fields;
use super::path::BatchPath;
use super::problem::Problem;
use super::query::{FromQuery, Params, Query};
use super::registration::{Registration, read_report};
use super::{App, Shared, answer, blocking};
use crate::domain::batch::BatchObject;
use crate::domain::id::{JobId, Seq};
use crate::domain::job::{Job, Status};
use crate::domain::rejection::Rejection;

/// Batches that are looked at for one page of a filtered list, at most: a tenth of a second's work. A page that ends there
/// says that there is more, and its `last_id` is where to go on.
const LOOKED_AT: usize = 20_000;

/// Batches that are read at once while looking for those of a filter.
const STRIDE: usize = 256;

/// `POST /v1/batches`
pub(super) async fn create(
    State(app): State<Shared>,
    _: Params<()>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let body = body.ok_or_else(|| Problem::malformed("malformed_json", "A batch is registered with a JSON object."))?;
    let Registration { id, spec, secret, url_param } = Registration::read(body)?;
    let registered = app.handle.register(id, spec, secret).await;
    show_job(&registered.map_err(|error| Problem::from(error).renamed("webhook.url", url_param))?)
}

/// `GET /v1/batches/{id}`
pub(super) async fn show(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
) -> Result<Response, Problem> {
    show_job(&find(&app, &id)?)
}

/// `PATCH /v1/batches/{id}`
pub(super) async fn report(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let report = body.map(read_report).transpose()?.unwrap_or_default();
    let if_match = if_match(&headers, &app, &id)?;
    show_job(&app.handle.report(id, report, if_match).await?)
}

/// `POST /v1/batches/{id}/cancel`
pub(super) async fn cancel(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    expect_no_fields(body)?;
    show_job(&app.handle.cancel(id).await?)
}

/// Some clients send `{}` where there is nothing to say.
pub(super) fn expect_no_fields(body: Option<Value>) -> Result<(), Problem> {
    body.map_or(Ok(()), |body| Fields::read(body, "", |_| Ok(())))
}

pub(super) fn find(app: &App, id: &JobId) -> Result<Job, Problem> {
    let job = app.handle.views().job(id).map_err(Problem::storage)?;
    job.ok_or_else(|| Rejection::not_found("batch", id).into())
}

fn show_job(job: &Job) -> Result<Response, Problem> {
    let mut response = answer(StatusCode::OK, &BatchObject::from(job))?;
    let tag = HeaderValue::try_from(format!("\"{}\"", job.version)).map_err(Problem::internal)?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// The version that `If-Match` demands (RFC 9110, section 13.1.1); `None` when any will do.
fn if_match(headers: &HeaderMap, app: &App, id: &JobId) -> Result<Option<u64>, Problem> {
    let mut versions = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let value = value.to_str().map(str::trim).unwrap_or_default();
        if value == "*" {
            return Ok(None);
        }
        for tag in value.split(',') {
            versions.push(version(tag.trim()).ok_or_else(|| {
                let message = "If-Match is '*' or entity tags in double quotes, as ETag gives them: \"3\".";
                Problem::malformed("malformed_if_match", message)
            })?);
        }
    }
    match *versions {
        [] => Ok(None),
        [version] => Ok(Some(version)),
        // The batch's own among several; the engine checks it again.
        [first, ..] => {
            let current = find(app, id)?.version;
            Ok(Some(if versions.contains(&current) { current } else { first }))
        }
    }
}

/// The version of an entity tag: 0, which no batch has, when it is a tag but none of ours or a weak one, which never
/// matches; `None` when it is no tag at all.
fn version(tag: &str) -> Option<u64> {
    let (weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |quoted| (true, quoted));
    let inner = quoted.strip_prefix('"')?.strip_suffix('"').filter(|inner| !inner.contains('"'))?;
    Some(if weak { 0 } else { inner.parse().unwrap_or(0) })
}

/// The query of `GET /v1/batches`.
pub(super) struct Listing {
    limit: usize,
    after: Option<JobId>,
    status: Option<Status>,
}

impl FromQuery for Listing {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self {
            limit: query.number("limit", 1..=100)?.unwrap_or(20),
            after: query.parsed("after", "the id of a batch", |id| JobId::new(id).ok())?,
            status: query.text("status").map(|name| Status::parse(&name)).transpose()?,
        })
    }
}

/// A page of a list, in OpenAI's form.
#[derive(Serialize)]
struct Page {
    object: &'static str,
    data: Vec<BatchObject>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// `GET /v1/batches`
pub(super) async fn list(State(app): State<Shared>, Params(listing): Params<Listing>) -> Result<Response, Problem> {
    let page = blocking(&app, move |app| page(app, &listing)).await?;
    answer(StatusCode::OK, &page)
}

fn page(app: &App, listing: &Listing) -> Result<Page, Problem> {
    let views = app.handle.views();
    let mut before: Option<Seq> = match &listing.after {
        None => None,
        Some(id) => {
            let job = views.job(id).map_err(Problem::storage)?;
            let unknown =
                || Problem::invalid("after", "invalid_parameter", format!("There is no batch with id '{id}'"));
            Some(job.ok_or_else(unknown)?.registered)
        }
    };
    let stride = if listing.status.is_none() { listing.limit + 1 } else { STRIDE };
    let (mut data, mut looked_at) = (Vec::new(), 0);
    loop {
        let jobs = views.jobs(before, stride).map_err(Problem::storage)?;
        for job in &jobs {
            if listing.status.is_none_or(|status| status == job.status) {
                if data.len() == listing.limit {
                    return Ok(Page::new(data, None, true));
                }
                data.push(BatchObject::from(job));
            }
        }
        let Some(last) = jobs.last().filter(|_| jobs.len() == stride) else {
            return Ok(Page::new(data, None, false));
        };
        looked_at += stride;
        if looked_at >= LOOKED_AT {
            return Ok(Page::new(data, Some(&last.id), true));
        }
        before = Some(last.registered);
    }
}

impl Page {
    /// `looked_at` is the last batch that was looked at, where the page ends before it is full.
    fn new(data: Vec<BatchObject>, looked_at: Option<&JobId>, has_more: bool) -> Self {
        let id = |batch: &BatchObject| batch.id.clone();
        let last_id = looked_at.map(JobId::to_string).or_else(|| data.last().map(id));
        Self { object: "list", first_id: data.first().map(id), last_id, data, has_more }
    }
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
