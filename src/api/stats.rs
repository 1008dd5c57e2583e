//! How each destination does.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Json;
use super::problem::Problem;
use super::query::Params;
use super::{Shared, blocking};
use crate::clock::{Clock, SystemClock};
use crate::meter::{HostStats, WindowStats};

/// Statistics of every destination of the last day.
#[derive(Serialize, JsonSchema)]
pub(super) struct StatsObject {
    /// Always `list`.
    object: &'static str,
    data: Vec<HostObject>,
    /// Whether all of the last day is in them. After a start it is read back from the log, which takes a moment.
    complete: bool,
}

/// How a destination does.
#[derive(Serialize, JsonSchema)]
struct HostObject {
    /// Its host, with the port where URLs name one.
    host: String,
    /// The last hour, to five minutes.
    last_hour: WindowObject,
    /// The last day, to an hour.
    last_day: WindowObject,
}

/// What happened within some time.
#[derive(Serialize, JsonSchema)]
struct WindowObject {
    /// Deliveries that came to an end: delivered, or dead.
    deliveries: u64,
    /// Deliveries that the receiver took.
    delivered: u64,
    /// Deliveries that were given up.
    dead: u64,
    /// The part of the deliveries that the receiver took, 0 to 1; null when none came to an end.
    success_rate: Option<f64>,
    /// Attempts that ended.
    attempts: u64,
    /// Attempts that failed.
    failed_attempts: u64,
    /// How long attempts took.
    latency_ms: LatencyObject,
}

/// Percentiles in milliseconds, to within a sixteenth; null when there was no attempt.
#[derive(Serialize, JsonSchema)]
struct LatencyObject {
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

impl From<HostStats> for HostObject {
    fn from(HostStats { host, hour, day }: HostStats) -> Self {
        Self { host, last_hour: hour.into(), last_day: day.into() }
    }
}

impl From<WindowStats> for WindowObject {
    fn from(window: WindowStats) -> Self {
        let WindowStats { delivered, dead, attempts, failed_attempts, p50, p95, p99 } = window;
        let deliveries = delivered + dead;
        #[expect(clippy::cast_precision_loss, reason = "no count here is near 2^52")]
        let success_rate = (deliveries > 0).then(|| delivered as f64 / deliveries as f64);
        let latency_ms = LatencyObject { p50, p95, p99 };
        Self { deliveries, delivered, dead, success_rate, attempts, failed_attempts, latency_ms }
    }
}

/// `GET /v1/webhooks/stats`
pub(super) async fn show(State(app): State<Shared>, _: Params<()>) -> Result<Json<StatsObject>, Problem> {
    let (hosts, complete) = blocking(&app, |app| Ok(app.handle.meter().stats(SystemClock.now()))).await?;
    Ok(Json(StatsObject { object: "list", data: hosts.into_iter().map(HostObject::from).collect(), complete }))
}
