//! A request's body: bounded in size and time, JSON, and read strictly.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::problem::Problem;
use super::{Shared, json};

/// What is made room for before it has arrived, at most, in bytes: a claim alone costs no more than this.
const ROOM: usize = 16 * 1024;

/// The body as JSON; `None` when there is none.
pub(super) struct JsonBody(pub(super) Option<Value>);

impl FromRequest<Shared> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        if body.is_end_stream() {
            return Ok(Self(None));
        }
        let deadline = app.options.body_deadline;
        // An empty body is none, also one whose length was not announced: of what is not JSON not one byte is taken.
        let is_json = is_json(&head.headers);
        let limit = if is_json { app.options.body_bytes } else { 0 };
        let read = tokio::time::timeout(deadline, read(body, limit)).await;
        let read = read.map_err(|_| {
            let message = format!("The body did not arrive within {} seconds.", deadline.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
        })?;
        let bytes = read.map_err(|problem| if is_json { problem } else { not_json() })?;
        if bytes.is_empty() { Ok(Self(None)) } else { json::parse(&bytes).map(Some).map(Self) }
    }
}

fn not_json() -> Problem {
    let message = "A body needs Content-Type: application/json.";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split_once(';').map_or(kind, |(kind, _)| kind));
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
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
