//! Idempotency keys: a request that is repeated under the key of the first one gets the first answer, and changes nothing.
//!
//! What the first request records and the answer that it gets are one commit, so the answer is there whenever the change
//! is; see [`crate::views::answers`]. An answer is kept when something was decided: done, or refused for what is there
//! (404, 409, 400). What is refused for its own form, or because the server can't serve it now, records nothing, and may
//! be sent again, corrected or not. (Compare draft-ietf-httpapi-idempotency-key-header.)

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::body::{self, is_json};
use super::describe::{Describe, Operation};
use super::problem::Problem;
use super::{Shared, answer, json as strict};
use crate::clock::{Clock, SystemClock};
use crate::domain::rejection::Rejection;
use crate::runtime::{Answer, Keep, Rendered};
use crate::views::answers::{AnswerKey, KeptAnswer};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key, in characters.
const KEY_CHARS: usize = 255;

/// The keys of requests that are under way; at most as many as there are connections.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashSet<AnswerKey>>);

/// A key's place among those under way.
struct Place {
    app: Shared,
    key: AnswerKey,
}

impl Place {
    fn take(app: &Shared, key: AnswerKey) -> Option<Self> {
        app.under_way.0.lock().insert(key).then(|| Self { app: Arc::clone(app), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.under_way.0.lock().remove(&self.key);
    }
}

/// Lets a `POST` with an idempotency key through once.
pub(super) async fn once(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if *request.method() != Method::POST || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    carried_out(app, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn carried_out(app: Shared, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key(request.headers())?;
    let (mut head, body) = request.into_parts();
    let bytes = body::read(body, &head.headers, &app.options).await?;
    let request = fingerprint(&head, &bytes);
    let place = Place::take(&app, key).ok_or_else(|| {
        let message = "A request with this Idempotency-Key is under way. Wait for its answer.";
        Problem::new(StatusCode::CONFLICT, "idempotency_key_in_use", message)
    })?;
    if let Some(kept) = app.handle.views().kept_answer(&key, SystemClock.now()).map_err(Problem::storage)? {
        return replayed(kept, &request);
    }
    head.extensions.insert(Once { key, request });
    // Whoever asked may go away; the request is carried out to its end all the same, and its key is in use until then.
    let going = tokio::spawn(async move {
        let answer = next.run(Request::from_parts(head, Body::from(bytes))).await;
        drop(place);
        answer
    });
    going.await.map_err(Problem::internal)
}

fn key(headers: &HeaderMap) -> Result<AnswerKey, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(Sha256::digest(key.as_bytes()).into()),
        _ => {
            let message = format!("A request has one Idempotency-Key, of 1 to {KEY_CHARS} visible ASCII characters.");
            Err(Problem::malformed("invalid_idempotency_key", message))
        }
    }
}

fn is_key(key: &[u8]) -> bool {
    (1..=KEY_CHARS).contains(&key.len()) && key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

/// A hash of what is asked for. Bodies that say the same in another order or with other spaces are the same.
fn fingerprint(head: &Parts, body: &[u8]) -> [u8; 32] {
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let mut hash = Sha256::new().chain_update((target.len() as u64).to_be_bytes()).chain_update(target);
    match strict::parse(body).ok().filter(|_| is_json(&head.headers)) {
        Some(value) => digest(&mut hash, &value),
        None => hash.update(body),
    }
    hash.finalize().into()
}

/// Members are taken in the order of their names, whatever order the parser keeps.
fn digest(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => {
            hash.update([b'{']);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, member) in members {
                hash.update((name.len() as u64).to_be_bytes());
                hash.update(name);
                digest(hash, member);
            }
            hash.update([b'}']);
        }
        Value::Array(items) => {
            hash.update([b'[']);
            for item in items {
                digest(hash, item);
            }
            hash.update([b']']);
        }
        other => {
            let text = other.to_string();
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    }
}

fn replayed(kept: KeptAnswer, request: &[u8; 32]) -> Result<Response, Problem> {
    if kept.request != *request {
        let message = "This Idempotency-Key was used with another request. Use a new key for a new request.";
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message);
        return Err(problem);
    }
    let KeptAnswer { status, version, body, .. } = kept;
    let mut response = answer::response(Rendered { status, version, body })?;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// The key of a request that has one.
#[derive(Clone)]
pub(super) struct Once {
    key: AnswerKey,
    request: [u8; 32],
}

/// Has the answer to this request kept, if it has a key.
pub(super) struct Keeper(Option<Once>);

impl Keeper {
    /// What the engine needs to keep the answer that `render` makes of what was done.
    pub(super) fn keep(
        self,
        render: impl Fn(&Answer) -> Result<Rendered, Problem> + Send + Sync + 'static,
    ) -> Option<Keep> {
        let Once { key, request } = self.0?;
        let render = move |reply: &Result<Answer, Rejection>| match reply {
            Ok(answer) => render(answer).ok(),
            Err(rejection) if is_final(rejection) => Some(Problem::from(rejection.clone()).rendered()),
            Err(_) => None,
        };
        Some(Keep { key, request, render: Arc::new(render) })
    }
}

/// Whether a refusal is an answer to keep: what stands in the way stays.
fn is_final(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::NotFound { .. } | Rejection::AlreadyRetried | Rejection::AlreadyDelivered => true,
        Rejection::Conflict { code, .. } => *code != "attempt_in_flight",
        Rejection::Invalid(_) | Rejection::Stale { .. } | Rejection::Unreadable { .. } | Rejection::NotInFlight => {
            false
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Keeper {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.remove()))
    }
}

impl Describe for Keeper {
    fn describe(operation: &mut Operation<'_>) {
        let schema =
            json!({"type": "string", "minLength": 1, "maxLength": KEY_CHARS, "pattern": "^[!-~]([ -~]*[!-~])?$"});
        let description = "The first answer under a key is kept for 24 hours, and given again with \
                           Idempotent-Replayed: true to the same request.";
        operation.parameter("header", "Idempotency-Key", &schema, description);
        operation.problems(&[400, 409, 422]);
    }
}
