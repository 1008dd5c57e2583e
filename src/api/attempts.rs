//! The attempts of a delivery, as a client sees them.

use schemars::JsonSchema;
use serde::Serialize;

use super::App;
use super::events::EndObject;
use super::problem::Problem;
use crate::domain::delivery::{Attempt, Delivery};
use crate::domain::event::{Envelope, Event};
use crate::domain::rejection::Rejection;

/// One attempt.
#[derive(Serialize, JsonSchema)]
pub(super) struct AttemptObject {
    /// 1 for the first.
    number: u32,
    /// When it began.
    started_at: String,
    /// How it ended; all null while it is being made.
    #[serde(flatten)]
    end: EndObject,
}

impl From<&Attempt> for AttemptObject {
    fn from(attempt: &Attempt) -> Self {
        let (number, started_at) = (attempt.number, attempt.started_at.to_string());
        Self { number, started_at, end: attempt.end.as_ref().into() }
    }
}

/// Every attempt of a delivery. Its row keeps the newest, which nearly always are all; else its job's history has them.
pub(super) fn all(app: &App, delivery: &Delivery) -> Result<Vec<AttemptObject>, Problem> {
    if delivery.attempts.first().is_none_or(|first| first.number == 1) {
        return Ok(delivery.attempts.iter().map(AttemptObject::from).collect());
    }
    let views = app.handle.views();
    let is_there = || views.delivery(delivery.id).map(|delivery| delivery.is_some()).map_err(Problem::storage);
    let history = match views.job(&delivery.job).map_err(Problem::storage)?.map(|job| views.history(&job)) {
        Some(Ok(history)) => history,
        Some(Err(error)) if is_there()? => return Err(Problem::storage(error)),
        // Pruned meanwhile.
        Some(Err(_)) | None => return Err(Rejection::not_found("delivery", delivery.id).into()),
    };
    let told = history.iter().filter(|envelope| envelope.event.delivery() == Some(delivery.id));
    Ok(attempts(told).iter().map(AttemptObject::from).collect())
}

fn attempts<'a>(events: impl Iterator<Item = &'a Envelope>) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for Envelope { at, event, .. } in events {
        match (event, attempts.last_mut()) {
            (Event::AttemptStarted { attempt, .. }, Some(again)) if again.number == *attempt => again.started_at = *at,
            (Event::AttemptStarted { attempt, .. }, _) => {
                attempts.push(Attempt { number: *attempt, started_at: *at, interruptions: 0, end: None });
            }
            (Event::AttemptSucceeded { end, .. } | Event::AttemptFailed { end, .. }, Some(newest)) => {
                newest.end = Some(end.clone());
            }
            (Event::AttemptInterrupted { .. }, Some(newest)) => newest.interruptions += 1,
            _ => {}
        }
    }
    attempts
}
