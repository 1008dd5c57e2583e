//! Deliveries: seeing them with their attempts, and sending one once more.

use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Json, rendered};
use super::attempts::{self, AttemptObject};
use super::body::{MaybeBody, Nothing};
use super::once::Keeper;
use super::page::Page;
use super::path::DeliveryPath;
use super::problem::Problem;
use super::query::{FromQuery, Params, Query};
use super::{App, Shared, blocking};
use crate::domain::delivery::{Delivery, DeliveryState, DeliveryStatus};
use crate::domain::id::DeliveryId;
use crate::domain::rejection::Rejection;
use crate::domain::webhook::EventKind;
use crate::runtime::{Waits, WaitsFor};
use crate::views::DeliveryFilter;

/// How long the answer to what a delivery waits for is waited for: the engine gives it between two commits.
const PATIENCE: Duration = Duration::from_millis(250);

/// A webhook call that was decided on. Times are ISO 8601, UTC.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeliveryObject {
    /// Its id, as in the `webhook-id` header.
    id: String,
    /// The batch that it tells of.
    batch_id: String,
    /// What it tells.
    event: &'static str,
    /// Where it goes.
    url: String,
    /// `pending`, `in_flight`, `delivered`, `dead` or `superseded`.
    status: &'static str,
    /// When it was decided on.
    created_at: String,
    /// When the receiver first took it.
    delivered_at: Option<String>,
    /// The number of the last attempt that may be made.
    max_attempts: u32,
    /// When the next attempt may begin; null when none is waited for.
    next_attempt_at: Option<String>,
    /// What the next attempt waits for; null when none is waited for, and when that is not known at the moment.
    waiting: Option<Waiting>,
    /// Its dead letter, from when it was first given up.
    dead_letter_id: Option<u64>,
    /// Its attempts, oldest first; in a list at most the newest 20.
    attempts: Vec<AttemptObject>,
}

/// What keeps an attempt waiting.
#[derive(Serialize, JsonSchema)]
enum Waiting {
    /// Its time has not come: see `next_attempt_at`.
    #[serde(rename = "retry time")]
    RetryTime,
    /// The batch's progress was told less than the configured interval ago.
    #[serde(rename = "progress interval")]
    ProgressInterval,
    /// The destination fails, or asked for it, and is tried again when its pause is over.
    #[serde(rename = "destination paused")]
    DestinationPaused,
    /// The destination gets as many attempts in a second as it may.
    #[serde(rename = "rate limit")]
    RateLimit,
    /// Other attempts, at the same destination or at all, are being made.
    #[serde(rename = "turn")]
    Turn,
}

impl From<WaitsFor> for Waiting {
    fn from(what: WaitsFor) -> Self {
        match what {
            WaitsFor::Time => Self::RetryTime,
            WaitsFor::Interval => Self::ProgressInterval,
            WaitsFor::Pause => Self::DestinationPaused,
            WaitsFor::Rate => Self::RateLimit,
            WaitsFor::Turn => Self::Turn,
        }
    }
}

impl DeliveryObject {
    fn new(delivery: &Delivery, waits: &Waits) -> Self {
        let is_pending = delivery.state.status() == DeliveryStatus::Pending;
        Self {
            id: delivery.id.to_string(),
            batch_id: delivery.job.to_string(),
            event: delivery.kind.as_str(),
            url: delivery.url.clone(),
            status: delivery.state.status().as_str(),
            created_at: delivery.created_at.to_string(),
            delivered_at: delivery.delivered_at.map(|at| at.to_string()),
            max_attempts: delivery.max_attempts,
            next_attempt_at: match delivery.state {
                DeliveryState::Pending { due } => Some(due.to_string()),
                _ => None,
            },
            waiting: waits.get(&delivery.id).filter(|_| is_pending).copied().map(Waiting::from),
            dead_letter_id: delivery.dead_letter.map(|letter| letter.0),
            attempts: delivery.attempts.iter().map(AttemptObject::from).collect(),
        }
    }
}

/// The query of `GET /v1/webhooks/deliveries`.
pub(super) struct Listing {
    filter: DeliveryFilter,
    limit: usize,
    after: Option<DeliveryId>,
}

impl FromQuery for Listing {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        let statuses = DeliveryStatus::ALL.map(DeliveryStatus::as_str);
        let filter = DeliveryFilter {
            job: query.batch("batch_id")?,
            status: query.word("status", &statuses, DeliveryStatus::parse)?,
            kind: query.word("event", &EventKind::ALL.map(EventKind::as_str), EventKind::parse)?,
        };
        let schema = serde_json::json!({"type": "string", "pattern": "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$"});
        let after = query.parsed("after", "the id of a delivery", schema, |id| id.parse().ok())?;
        Ok(Self { filter, limit: query.limit(20, 100)?, after })
    }
}

/// `GET /v1/webhooks/deliveries`
pub(super) async fn list(
    State(app): State<Shared>,
    Params(Listing { filter, limit, after }): Params<Listing>,
) -> Result<Json<Page<DeliveryObject>>, Problem> {
    let read = blocking(&app, move |app| {
        let views = app.handle.views();
        let before = match after {
            None => None,
            Some(id) => {
                let delivery = views.delivery(id).map_err(Problem::storage)?;
                let unknown =
                    || Problem::invalid("after", "invalid_parameter", format!("There is no delivery with id '{id}'"));
                Some(delivery.ok_or_else(unknown)?.scheduled)
            }
        };
        views.deliveries(&filter, before, limit + 1).map_err(Problem::storage)
    });
    let deliveries = read.await?;
    let waits = waits(&app, &deliveries).await;
    let objects = deliveries.iter().map(|delivery| DeliveryObject::new(delivery, &waits)).collect();
    Ok(Json(Page::of(objects, limit, |delivery: &DeliveryObject| delivery.id.clone())))
}

/// `GET /v1/webhooks/deliveries/{id}`
pub(super) async fn show(
    State(app): State<Shared>,
    DeliveryPath(id): DeliveryPath,
    _: Params<()>,
) -> Result<Json<DeliveryObject>, Problem> {
    let read = blocking(&app, move |app| {
        let delivery = app.handle.views().delivery(id).map_err(Problem::storage)?;
        let delivery = delivery.ok_or_else(|| Problem::from(Rejection::not_found("delivery", id)))?;
        let attempts = attempts::all(app, &delivery)?;
        Ok((delivery, attempts))
    });
    let (delivery, attempts) = read.await?;
    let waits = waits(&app, std::slice::from_ref(&delivery)).await;
    Ok(Json(DeliveryObject { attempts, ..DeliveryObject::new(&delivery, &waits) }))
}

/// What those of `deliveries` that are pending wait for, as far as the engine says so at once.
async fn waits(app: &App, deliveries: &[Delivery]) -> Waits {
    let pending = |delivery: &&Delivery| delivery.state.status() == DeliveryStatus::Pending;
    let pending: Vec<DeliveryId> = deliveries.iter().filter(pending).map(|delivery| delivery.id).collect();
    if pending.is_empty() {
        return Waits::new();
    }
    tokio::time::timeout(PATIENCE, app.handle.waits(pending)).await.unwrap_or_default()
}

/// The query of a resend.
pub(super) struct ResendOptions {
    force: bool,
}

impl FromQuery for ResendOptions {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self { force: query.flag("force")?.unwrap_or(false) })
    }
}

/// A delivery that will be sent once more.
#[derive(Serialize, JsonSchema)]
pub(super) struct Resent {
    /// The delivery.
    id: String,
    /// Whether it was asked for with force.
    forced: bool,
}

/// `POST /v1/webhooks/deliveries/{id}/resend`
pub(super) async fn resend(
    State(app): State<Shared>,
    DeliveryPath(id): DeliveryPath,
    Params(ResendOptions { force }): Params<ResendOptions>,
    keeper: Keeper,
    _: MaybeBody<Nothing>,
) -> Result<Json<Resent, 202>, Problem> {
    let resent = move || Resent { id: id.to_string(), forced: force };
    let keep = keeper.keep(move |_| rendered(202, None, &resent()));
    app.handle.keeping(keep).resend(id, force).await?;
    Ok(Json(resent()))
}
