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
use super::{App, Shared, blocking};
use crate::domain::id::Seq;

/// Events that are read at a time.
const READ: usize = 32;

/// A page is full when its events take so much, in bytes, however few they are.
const PAGE_BYTES: usize = 1024 * 1024;

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
    blocking(&app, move |app| page(app, after, limit)).await.map(Json)
}

fn page(app: &App, after: u64, limit: usize) -> Result<Feed, Problem> {
    let log = app.handle.log();
    let (mut data, mut last_seq, mut bytes) = (Vec::new(), after, 0);
    while data.len() < limit && bytes < PAGE_BYTES {
        let events = log.events(Seq(last_seq), READ.min(limit - data.len())).map_err(Problem::storage)?;
        let Some(last) = events.last() else { break };
        last_seq = last.seq.0;
        for event in events.iter().map(EventObject::from) {
            bytes += serde_json::to_vec(&event).map_err(Problem::internal)?.len();
            data.push(event);
        }
    }
    // Asked last, so that it is never before the events.
    let head = log.tail().0;
    Ok(Feed { object: "list", last_seq, head, has_more: last_seq < head, data })
}
