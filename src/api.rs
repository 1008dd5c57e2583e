//! The HTTP API: JSON in, JSON out. It decides nothing; it turns requests into calls of the engine's handle, and what
//! comes of them into answers.
//!
//! ```text
//! server ─▶ connection ─▶ entry: request id ─▶ entry: who may ask ─▶ handler ── body, query, path ──▶ Handle
//!   seats     limits,          ▲                                      │
//!             deadlines        └── the one shape of errors ◀── Problem┘
//! ```
//!
//! Nothing in a request is ignored in silence: a field, a parameter or a method that is not known is refused, and the
//! answer names what is.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use tokio::sync::watch;

use crate::runtime::Handle;
use describe::Routes;
use once::UnderWay;
use problem::Problem;
use refusals::Refusals;

mod answer;
mod attempts;
mod batches;
mod body;
mod bulk;
mod connection;
mod dashboard;
mod dead_letters;
mod deliveries;
mod describe;
mod destinations;
mod entry;
mod events;
mod farewell;
mod feed;
mod framing;
mod if_match;
mod json;
mod keys;
mod once;
mod page;
mod path;
mod probes;
mod problem;
mod query;
mod refusals;
mod registration;
mod schema;
mod seats;
mod server;
mod stats;
mod upload;
mod webhook;
mod wire;

pub use destinations::Destinations;
#[cfg(feature = "cli")]
pub(crate) use events::EventObject;
pub use keys::{InvalidKey, Keys};
pub use server::serve;

/// Who may ask; the bounds of what a client may send, and of how long it may take.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// One of these is to be presented. Without any, everybody who reaches a loopback address may ask.
    pub keys: Keys,
    /// Where webhooks may be registered to go.
    pub destinations: Destinations,
    /// How long the answer to a wrong key waits. It holds up nobody else.
    pub wrong_key_delay: Duration,
    /// The largest body, in bytes. A larger one is refused before it is read, where its length is announced.
    pub body_bytes: usize,
    /// How long the body may take to arrive.
    pub body_deadline: Duration,
    /// How long a connection may take to send a whole head, and so also how long it may idle between two requests.
    pub head_deadline: Duration,
    /// How long an answer may wait for a client that reads nothing of it.
    pub write_deadline: Duration,
    /// Connections at once. For one more, the one that has been without a request for the longest time is closed; while
    /// all have requests, further ones wait in the operating system's queue.
    pub connections: usize,
    /// Connections at once from one address (of IPv6: from one /64). As many as in all when not given: behind a reverse
    /// proxy everything is one address. One more is refused while all of them have requests.
    pub connections_per_peer: Option<usize>,
    /// How long requests in flight may take to end at shutdown. What they leave of it is for attempts in flight, where a
    /// process ends both.
    pub grace: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            destinations: Destinations::default(),
            wrong_key_delay: Duration::from_millis(250),
            body_bytes: 1024 * 1024,
            body_deadline: Duration::from_secs(10),
            head_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(30),
            connections: 2048,
            connections_per_peer: None,
            // Container runtimes kill after ten seconds.
            grace: Duration::from_secs(8),
        }
    }
}

/// What every handler sees.
struct App {
    handle: Handle,
    options: ApiOptions,
    /// Becomes true when the server is told to stop, and stays so. The end waits for every request that has been begun:
    /// a handler that waits for something that may never come (a long poll) waits for this, too, and answers with what
    /// there is.
    stopping: watch::Receiver<bool>,
    under_way: UnderWay,
    refusals: Refusals,
    /// The description of the API, once it was made.
    description: OnceLock<Bytes>,
}

impl App {
    fn new(handle: Handle, options: ApiOptions, stopping: watch::Receiver<bool>) -> Self {
        let (under_way, refusals, description) = Default::default();
        Self { handle, options, stopping, under_way, refusals, description }
    }
}

type Shared = Arc<App>;

/// Every path there is, and what it does, in a few words for the description.
fn routes() -> Routes {
    let dead_letter = "/v1/webhooks/dead-letter/{id}";
    Routes::new()
        .common(&[500], true)
        .on(Method::GET, "/health", "Whether the process lives", probes::health)
        .common(&[500, 503], true)
        .on(Method::GET, "/ready", "Whether requests are taken", probes::ready)
        .common(&[400, 403, 431, 500], true)
        .on(Method::GET, "/", "The dashboard", dashboard::page)
        .on(Method::GET, "/dashboard/{file}", "A file of the dashboard", dashboard::file)
        .common(&[400, 401, 403, 431, 500, 503], false)
        .on(Method::GET, "/metrics", "Metrics for Prometheus", probes::metrics)
        .on(Method::GET, "/openapi.json", "This description", probes::description)
        .on(Method::GET, "/v1/batches", "Lists batches, newest first", batches::list)
        .on(Method::GET, "/v1/batches/{id}", "A batch, now or as of a position of the log", batches::show)
        .on(Method::GET, "/v1/batches/{id}/history", "A batch's events, oldest first", batches::history)
        .on(Method::GET, "/v1/webhooks/deliveries", "Lists deliveries, newest first", deliveries::list)
        .on(Method::GET, "/v1/webhooks/deliveries/{id}", "A delivery with all of its attempts", deliveries::show)
        .on(Method::GET, "/v1/webhooks/dead-letter", "Lists dead letters, newest first", dead_letters::list)
        .on(Method::GET, dead_letter, "A dead letter with its payload and all of its attempts", dead_letters::show)
        .on(Method::GET, "/v1/webhooks/stats", "How each destination does", stats::show)
        .on(Method::GET, "/v1/webhooks/stats/minutes", "How deliveries went, minute by minute", stats::minutes)
        .common(&[400, 401, 403, 410, 431, 500, 503], false)
        .on(Method::GET, "/v1/log", "The events themselves, in commit order", feed::read)
        .common(&[400, 401, 403, 429, 431, 500, 503], false)
        .on(Method::POST, "/v1/batches", "Registers a batch", batches::create)
        .on(
            Method::PATCH,
            "/v1/batches/{id}",
            "Reports what a batch's worker has to say, or gives its webhook another secret",
            batches::report,
        )
        .common(&[400, 401, 403, 409, 429, 431, 500, 503], false)
        .on(Method::POST, "/v1/batches/{id}/cancel", "Asks a batch's worker to stop", batches::cancel)
        .on(Method::POST, "/v1/webhooks/deliveries/{id}/resend", "Sends a delivery once more", deliveries::resend)
        .on(Method::POST, "/v1/webhooks/dead-letter/{id}/retry", "Tries a dead letter once more", dead_letters::retry)
        .on(Method::POST, "/v1/webhooks/dead-letter/retry", "Tries many dead letters once more", bulk::retry)
        .on(Method::POST, "/v1/webhooks/dead-letter/purge", "Deletes many dead letters", bulk::purge)
        .on(
            Method::DELETE,
            "/v1/batches/{id}/payloads",
            "Erases the payloads of a batch's deliveries; the history stays",
            batches::erase_payloads,
        )
        .on(Method::DELETE, dead_letter, "Deletes a dead letter", dead_letters::delete)
}

/// The description of the API: an OpenAPI 3.1 document, as `GET /openapi.json` answers.
#[must_use]
pub fn description() -> serde_json::Value {
    routes().finish().1
}

/// What serves them.
fn router(app: Shared) -> Router {
    let (routes, mut description) = routes().finish();
    if !app.options.keys.is_empty() {
        // In general a key may be needed; here one is.
        description["security"] = serde_json::json!([{"key": []}]);
    }
    app.description.get_or_init(|| Bytes::from(description.to_string()));
    routes
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(&app), once::once))
        .layer(from_fn_with_state(Arc::clone(&app), entry::guard))
        .layer(from_fn_with_state(Arc::clone(&app), entry::frame))
        .with_state(app)
}

/// Runs what may read many rows where blocking holds up nobody else.
async fn blocking<T: Send + 'static>(
    app: &Shared,
    read: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || read(&app)).await.map_err(Problem::internal)?
}
