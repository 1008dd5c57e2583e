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
    /// A hash over the whole log up to there, in hexadecimal: each record names the hash of the one before it. Kept somewhere
    /// else it shows later that no event was changed.
    head_hash: String,
    /// Where the log begins: what came up to this position was pruned.
    horizon: u64,
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
    let horizon = || log.anchor().map(|anchor| anchor.horizon).map_err(Problem::storage);
    let (mut data, mut last_seq, mut bytes) = (Vec::new(), after, 0);
    while data.len() < limit && bytes < PAGE_BYTES {
        let events = match log.events(Seq(last_seq), READ.min(limit - data.len())) {
            Ok(events) => events,
            Err(error) => match horizon()? {
                horizon if Seq(after) < horizon => return Err(Problem::pruned(horizon)),
                _ => return Err(Problem::storage(error)),
            },
        };
        let Some(last) = events.last() else { break };
        last_seq = last.seq.0;
        for event in events.iter().map(EventObject::from) {
            bytes += serde_json::to_vec(&event).map_err(Problem::internal)?.len();
            data.push(event);
        }
    }
    // Asked last, so that it is never before the events.
    let head = log.head();
    let (head_hash, horizon) = (head.hash.to_string(), horizon()?.0);
    Ok(Feed { object: "list", last_seq, head: head.seq.0, head_hash, horizon, has_more: last_seq < head.seq.0, data })
}
