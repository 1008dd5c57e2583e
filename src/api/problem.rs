//! Why a request was not answered with what it asked for, and the one shape that every such answer has.
//!
//! `detail` is for clients of the seed, `error` for OpenAI's. What went wrong inside is for the log; whoever asked gets
//! the request's id, by which it is found there.

use std::borrow::Cow;
use std::fmt;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::id::Seq;
use crate::domain::rejection::{Invalid, Rejection};
use crate::runtime::{Error, Rendered};

/// OpenAI's clients send again what was answered with 409, unless this says that it is in vain.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Seconds after which a client may find storage or server back.
const UNAVAILABLE_RETRY: u64 = 5;

/// Seconds after which a client may find the queue shorter: it holds half a second's work.
const OVERLOADED_RETRY: u64 = 1;

/// A problem as it is answered.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProblemObject<'a> {
    /// What is wrong, for a person.
    detail: &'a str,
    error: ErrorObject<'a>,
}

/// What is wrong, in the form of OpenAI's errors.
#[derive(Serialize, JsonSchema)]
struct ErrorObject<'a> {
    /// For a person.
    message: &'a str,
    /// `invalid_request_error`, `overloaded_error` or `server_error`.
    r#type: &'static str,
    /// The field or parameter that is wrong, if it is one.
    param: Option<&'a str>,
    /// Stable and machine-readable.
    code: &'static str,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Stable and machine-readable.
    pub(super) code: &'static str,
    /// The field or parameter that is wrong, if it is one.
    pub(super) param: Option<Cow<'static, str>>,
    /// For a person.
    pub(super) message: String,
    /// Seconds.
    retry_after: Option<u64>,
    /// For the log alone.
    cause: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, param: None, message: message.into(), retry_after: None, cause: None }
    }

    /// What was sent is not even well-formed.
    pub(super) fn malformed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// What was sent is well-formed, but `param` is not what it may be.
    pub(super) fn invalid(param: impl Into<Cow<'static, str>>, code: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message) }
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
    }

    /// The router adds the `Allow` header.
    pub(super) fn method_not_allowed() -> Self {
        let message = "This path does not take this method; the Allow header lists those that it takes.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// What comes after the position that was asked for is not there any more.
    pub(super) fn pruned(horizon: Seq) -> Self {
        let message =
            format!("What was recorded up to position {horizon} has been pruned. Go on with after={horizon}.");
        Self { param: Some("after".into()), ..Self::new(StatusCode::GONE, "position_pruned", message) }
    }

    /// Storage could not be read or written.
    pub(super) fn storage(cause: impl fmt::Display) -> Self {
        let message = "Storage is failing. What was being written is known once the server was restarted.";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage_failing", message);
        Self { retry_after: Some(UNAVAILABLE_RETRY), cause: Some(cause.to_string()), ..problem }
    }

    /// A fault of this program.
    pub(super) fn internal(cause: impl fmt::Display) -> Self {
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The server has failed.");
        Self { cause: Some(cause.to_string()), ..problem }
    }

    /// The server is on its way out.
    fn stopping(message: String) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message);
        Self { retry_after: Some(UNAVAILABLE_RETRY), ..problem }
    }

    /// Leaves the log out of it.
    pub(super) fn unlogged(self) -> Self {
        Self { cause: None, ..self }
    }

    /// Speaks of the field `from` as `to`, where it speaks of that.
    pub(super) fn renamed(self, from: &str, to: &'static str) -> Self {
        if from == to || self.param.as_deref() != Some(from) {
            return self;
        }
        Self { param: Some(to.into()), message: self.message.replace(from, to), ..self }
    }

    /// Whether it says that somebody may not come in, or not so many of them.
    pub(super) fn is_at_the_door(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the same request has the same answer however often it is sent.
    fn stands(&self) -> bool {
        self.status == StatusCode::CONFLICT
            && matches!(self.code, "illegal_transition" | "id_taken" | "no_webhook" | "payload_erased")
    }

    /// The `type` of OpenAI's errors.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "overloaded_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Writes itself into the response that carried it; headers that are there already stay.
    pub(super) fn render(self, response: &mut Response, request_id: &str) {
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.stands() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        *response.status_mut() = self.status;
        *response.body_mut() = Body::from(self.body(request_id));
    }

    /// The one shape of errors. What has a cause is logged with it.
    pub(super) fn body(&self, request_id: &str) -> String {
        let message = match &self.cause {
            None => self.message.clone(),
            Some(cause) => {
                tracing::error!(request_id, code = self.code, error = %cause, "a request failed");
                format!("{} The request's id is {request_id}.", self.message)
            }
        };
        self.object(&message)
    }

    fn object(&self, message: &str) -> String {
        let error = ErrorObject { message, r#type: self.kind(), param: self.param.as_deref(), code: self.code };
        // Texts always serialize.
        serde_json::to_string(&ProblemObject { detail: message, error }).unwrap_or_default()
    }

    /// Itself in the form in which an answer is kept.
    pub(super) fn rendered(&self) -> Rendered {
        Rendered { status: self.status.as_u16(), version: None, body: self.object(&self.message).into_bytes() }
    }
}

/// The answer is written by [`entry::frame`](super::entry::frame), which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for Problem {
    fn from(Invalid { param, code, message }: Invalid) -> Self {
        Self::invalid(param, code, message)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let message = rejection.to_string();
        let (status, code) = match rejection {
            Rejection::Invalid(invalid) => return invalid.into(),
            Rejection::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Rejection::Conflict { code, .. } => (StatusCode::CONFLICT, code),
            Rejection::Stale { .. } => (StatusCode::PRECONDITION_FAILED, "stale_version"),
            Rejection::AlreadyRetried => (StatusCode::BAD_REQUEST, "already_retried"),
            Rejection::AlreadyDelivered => (StatusCode::BAD_REQUEST, "already_delivered"),
            Rejection::Unreadable { why } => return Self::storage(why),
            // An outcome's, which no client sends.
            Rejection::NotInFlight => return Self::internal(message),
        };
        Self::new(status, code, message)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Rejected(rejection) => rejection.into(),
            Error::Overloaded => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message);
                Self { retry_after: Some(OVERLOADED_RETRY), ..problem }
            }
            Error::Stopping => Self::stopping(message),
            Error::Failing(why) => Self::storage(why),
        }
    }
}
