//! The HTTP API: JSON in, JSON out. It decides nothing; it turns requests into calls of the engine's handle, and what
//! comes of them into answers.
//!
//! ```text
//! server ─▶ entry: request id ─▶ entry: who may ask ─▶ handler ── body, query, path ──▶ Handle
//!   limits,        ▲                                      │
//!   deadlines      └── the one shape of errors ◀── Problem┘
//! ```
//!
//! Nothing in a request is ignored in silence: a field, a parameter or a method that is not known is refused, and the
//! answer names what is.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;

use crate::runtime::Handle;
use problem::Problem;

mod batches;
mod body;
mod dead_letters;
mod entry;
mod fields;
mod history;
mod json;
mod keys;
mod lingering;
mod path;
mod probes;
mod problem;
mod query;
mod registration;
mod server;
mod upload;

pub use keys::{InvalidKey, Keys};
pub use server::serve;

/// Who may ask; the bounds of what a client may send, and of how long it may take.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// One of these is to be presented. Without any, everybody who reaches a loopback address may ask.
    pub keys: Keys,
    /// How long the answer to a wrong key waits. It holds up nobody else.
    pub wrong_key_delay: Duration,
    /// The largest body, in bytes. A larger one is refused before it is read, where its length is announced.
    pub body_bytes: usize,
    /// How long the body may take to arrive.
    pub body_deadline: Duration,
    /// How long a connection may take to send a whole head, and so also how long it may idle between two requests.
    pub head_deadline: Duration,
    /// Connections at once. Further ones wait in the operating system's queue.
    pub connections: usize,
    /// How long requests in flight may take to end at shutdown.
    pub grace: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            wrong_key_delay: Duration::from_millis(250),
            body_bytes: 1024 * 1024,
            body_deadline: Duration::from_secs(10),
            head_deadline: Duration::from_secs(10),
            connections: 1024,
            grace: Duration::from_secs(10),
        }
    }
}

/// What every handler sees.
struct App {
    handle: Handle,
    options: ApiOptions,
}

type Shared = Arc<App>;

/// Every path there is. What is asked of the log or of the deliveries has its place among the guarded ones.
fn router(app: Shared) -> Router {
    let guarded = Router::new()
        .route("/v1/batches", get(batches::list).post(batches::create))
        .route("/v1/batches/{id}", get(batches::show).patch(batches::report))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .route("/v1/batches/{id}/history", get(history::show))
        .route("/v1/webhooks/dead-letter", get(dead_letters::list))
        .route(
            "/v1/webhooks/dead-letter/{id}",
            get(dead_letters::show).delete(dead_letters::delete).fallback(dead_letters::other_method),
        )
        .route("/v1/webhooks/dead-letter/{id}/retry", post(dead_letters::retry))
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(&app), entry::guard));
    let open = Router::new()
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    guarded.merge(open).layer(from_fn(entry::frame)).with_state(app)
}

/// An answer with a JSON body.
fn answer(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(Problem::internal)?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Runs what may read many rows where blocking holds up nobody else.
async fn blocking<T: Send + 'static>(
    app: &Shared,
    read: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || read(&app)).await.map_err(Problem::internal)?
}
