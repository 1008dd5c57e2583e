//! The log as a feed: every event, in commit order, without gaps. Whoever remembers the position of the last event that
//! they have seen misses none.

use std::time::Duration;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Json;
use super::events::EventObject;
use super::problem::Problem;
use super::query::{FromQuery, Params, Query};
use super::{Shared, blocking};
use crate::domain::id::Seq;

/// The query of `GET /v1/log`.
pub(super) struct Reading {
    after: u64,
    limit: usize,
    /// Seconds.
    wait: u64,
}

impl FromQuery for Reading {
    fn take(query: &mut Query) -> Result<Self, Problem> {
        Ok(Self {
            after: query.position("after")?.unwrap_or(0),
            limit: query.limit(100, 1000)?,
            wait: query.number("wait", 0..=30)?.unwrap_or(0),
        })
    }
}

/// Events in commit order.
#[derive(Serialize, JsonSchema)]
pub(super) struct Feed {
    /// Always `list`.
    object: &'static str,
    data: Vec<EventObject>,
    /// The position of the last event here, or the one that was asked for: what `after` takes.
    last_seq: u64,
    /// The position of the log's newest durable event.
    head: u64,
    /// Whether there are more after these already.
    has_more: bool,
}

/// `GET /v1/log`
pub(super) async fn read(
    State(app): State<Shared>,
    Params(Reading { after, limit, wait }): Params<Reading>,
) -> Result<Json<Feed>, Problem> {
    if wait > 0 && app.handle.log().tail() <= Seq(after) {
        let mut stopping = app.stopping.clone();
        tokio::select! {
            _ = app.handle.beyond(Seq(after)) => {}
            () = tokio::time::sleep(Duration::from_secs(wait)) => {}
            // Whoever waits is told at once what there is.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
    let read = blocking(&app, move |app| {
        let log = app.handle.log();
        let events = log.events(Seq(after), limit).map_err(Problem::storage)?;
        // Asked last, so that it is never before the events.
        Ok((events, log.tail()))
    });
    let (events, head) = read.await?;
    let last_seq = events.last().map_or(after, |event| event.seq.0);
    let data: Vec<_> = events.iter().map(EventObject::from).collect();
    Ok(Json(Feed { object: "list", last_seq, head: head.0, has_more: last_seq < head.0, data }))
}
