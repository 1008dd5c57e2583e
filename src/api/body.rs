//! A request's body: bounded in size and time, JSON, and read strictly.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::describe::{Describe, Operation};
use super::problem::Problem;
use super::{ApiOptions, Shared, json, schema};

/// What is made room for before it has arrived, at most, in bytes: a claim alone costs no more than this.
const ROOM: usize = 16 * 1024;

/// A body that there has to be.
pub(super) struct JsonBody<T>(pub(super) T);

/// A body that may be left out.
pub(super) struct MaybeBody<T>(pub(super) Option<T>);

/// A body in which there is nothing to say: some clients send `{}` all the same.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Nothing {}

schema::body!(Nothing);

impl<T: schema::Body> FromRequest<Shared> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let MaybeBody(body) = MaybeBody::from_request(request, app).await?;
        let missing = || Problem::malformed("malformed_json", "This request needs a JSON object as its body.");
        body.ok_or_else(missing).map(Self)
    }
}

impl<T: schema::Body> FromRequest<Shared> for MaybeBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let bytes = read(body, &head.headers, &app.options).await?;
        if bytes.is_empty() { Ok(Self(None)) } else { schema::read(json::parse(&bytes)?).map(Some).map(Self) }
    }
}

const PROBLEMS: [u16; 5] = [400, 408, 413, 415, 422];

impl<T: schema::Body> Describe for JsonBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(true);
        operation.problems(&PROBLEMS);
    }
}

impl<T: schema::Body> Describe for MaybeBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(false);
        operation.problems(&PROBLEMS);
    }
}

/// Reads a body, bounded in size and time; empty when there is none.
pub(super) async fn read(body: Body, headers: &HeaderMap, options: &ApiOptions) -> Result<Vec<u8>, Problem> {
    if body.is_end_stream() {
        return Ok(Vec::new());
    }
    let deadline = options.body_deadline;
    // An empty body is none, also one whose length was not announced: of what is not JSON not one byte is taken.
    let is_json = is_json(headers);
    let limit = if is_json { options.body_bytes } else { 0 };
    let read = tokio::time::timeout(deadline, read_all(body, limit)).await;
    let read = read.map_err(|_| {
        let message = format!("The body did not arrive within {} seconds.", deadline.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    })?;
    read.map_err(|problem| if is_json { problem } else { not_json() })
}

fn not_json() -> Problem {
    let message = "A body needs Content-Type: application/json.";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split_once(';').map_or(kind, |(kind, _)| kind));
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn read_all(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let message = format!("A body has at most {limit} bytes.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(announced.min(ROOM));
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| {
            Problem::malformed("incomplete_body", format!("The body could not be read to its end: {error}."))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_content_type_do_not_matter() {
        for (kind, fine) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json ;x", true),
            ("text/json", false),
            ("application/jsonx", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(is_json(&headers), fine, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
