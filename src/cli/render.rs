//! Events and rows as a person reads them.

use std::fmt::Write;

use clap::builder::styling::Style;
use serde::Deserialize;
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use super::output::{BAD, FAINT, GOOD};
use super::table::cut;
use crate::domain::delivery::{DeadLetter, Delivery, DeliveryState};
use crate::domain::job::Job;
use crate::domain::outcome::clip;

/// The longest text that is shown, in characters.
const MOST: usize = 4096;

/// An event as the API has it. One that is newer than this program is shown as far as it speaks for itself.
#[derive(Debug, Deserialize)]
pub(super) struct EventView {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) batch_id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One line: position, time, job, what it is, and what matters of it. Cut to `width`, where there is one.
pub(super) fn event(event: &EventView, width: Option<usize>) -> String {
    let at = if width.is_some() { event.at.replacen('T', " ", 1) } else { event.at.clone() };
    event_at(event, &at, width)
}

/// The same with the time of day alone, for what happens now.
pub(super) fn event_now(event: &EventView, width: Option<usize>) -> String {
    event_at(event, clock(&event.at), width)
}

fn event_at(event: &EventView, at: &str, width: Option<usize>) -> String {
    let EventView { seq, batch_id, kind, .. } = event;
    let style = match &**kind {
        "attempt_succeeded" => GOOD,
        "attempt_failed" | "delivery_exhausted" => BAD,
        _ => Style::new(),
    };
    let (job, kind) = (plain(batch_id), plain(kind));
    let before = format!("{seq:>5}  {at}  {job:<12}  {kind:<20}  ").width();
    let details = plain(&details(event));
    let details = width.map_or_else(|| details.clone(), |width| cut(&details, width.saturating_sub(before).max(1)));
    format!("{FAINT}{seq:>5}  {at}{FAINT:#}  {job:<12}  {style}{kind:<20}{style:#}  {details}").trim_end().to_owned()
}

/// The time of day with milliseconds, UTC.
fn clock(iso: &str) -> &str {
    iso.split_once('T').map_or(iso, |(_, time)| time.trim_end_matches('Z'))
}

fn details(event: &EventView) -> String {
    let rest = &event.rest;
    let text = |name: &str| rest.get(name).and_then(Value::as_str).unwrap_or("?");
    let number = |name: &str| rest.get(name).and_then(Value::as_u64).unwrap_or_default();
    let attempt = || format!("attempt {}", number("attempt"));
    match &*event.kind {
        "job_registered" => {
            match rest.get("spec").and_then(|spec| spec.pointer("/webhook/url")).and_then(Value::as_str) {
                Some(url) => format!("webhook {url}"),
                None => "no webhook".into(),
            }
        }
        "job_transitioned" | "progress_reported" => rest.get("report").map(reported).unwrap_or_default(),
        "delivery_scheduled" => {
            format!("{}, at most {}, {}", text("event"), attempts(number("max_attempts")), text("delivery_id"))
        }
        "attempt_started" => attempt(),
        "attempt_succeeded" => format!("{}: {}", attempt(), ended(rest)),
        "attempt_failed" => match rest.get("retry_at").and_then(Value::as_str) {
            Some(at) => format!("{}: {}; next at {}", attempt(), ended(rest), clock(at)),
            None => format!("{}: {}; no further one", attempt(), ended(rest)),
        },
        "attempt_interrupted" => format!("{}, to be repeated", attempt()),
        "delivery_exhausted" | "dead_letter_deleted" => format!("dead letter {}", number("dead_letter_id")),
        "delivery_superseded" => format!("by newer news: {}", text("delivery_id")),
        "redelivery_requested" if rest.get("forced") == Some(&Value::Bool(true)) => "forced".into(),
        "redelivery_requested" => String::new(),
        "webhook_configured" => configured(rest),
        "secret_rotated" => format!("the former one signs until {}", text("former_until")),
        "payloads_erased" => format!("of {} deliveries", number("deliveries")),
        _ => everything(rest),
    }
}

/// What is said, whatever it is.
fn everything(rest: &Map<String, Value>) -> String {
    let said = rest.iter().filter(|(_, value)| !value.is_null());
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    said.map(|(name, value)| format!("{name} {}", shown(value))).collect::<Vec<_>>().join(", ")
}

fn configured(rest: &Map<String, Value>) -> String {
    let headers = rest.get("headers").and_then(Value::as_bool).filter(|has| *has).map(|_| "headers".to_owned());
    let rate = rest.get("rate_limit").and_then(Value::as_u64).map(|rate| format!("at most {rate}/s"));
    let schedule = rest.get("retry_schedule").and_then(Value::as_array).map(|waits| {
        let waits: Vec<_> = waits.iter().map(|wait| format!("{wait} s")).collect();
        format!("retries after {}", waits.join(", "))
    });
    [headers, rate, schedule].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn reported(report: &Value) -> String {
    let status = report.get("status").and_then(Value::as_str).map(|status| format!("now {status}"));
    let count = |name: &str| report.get(name).map(|count| format!("{name} {count}"));
    let counts = ["total", "completed", "failed"].into_iter().filter_map(count);
    status.into_iter().chain(counts).collect::<Vec<_>>().join(", ")
}

fn ended(rest: &Map<String, Value>) -> String {
    let answer = match (rest.get("error").and_then(Value::as_str), rest.get("status_code").and_then(Value::as_u64)) {
        (Some(error), _) => error.to_owned(),
        (None, Some(status)) => format!("HTTP {status}"),
        (None, None) => "succeeded".into(),
    };
    match rest.get("duration_ms").and_then(Value::as_u64) {
        Some(took) => format!("{answer} after {took} ms"),
        None => answer,
    }
}

/// `1 attempt`, `2 attempts`.
pub(super) fn attempts(number: impl Into<u64>) -> String {
    match number.into() {
        1 => "1 attempt".into(),
        number => format!("{number} attempts"),
    }
}

/// What others have chosen, without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    clip(text, MOST)
}

/// One line on a job.
pub(super) fn job(job: &Job) -> String {
    let mut line = format!("{:<24} {:<12} version {}", job.id, job.status, job.version);
    if let Some(latest) = &job.latest {
        // Writing into a String can't fail.
        let _ = write!(line, ", webhook {} after {} attempts", latest.status.as_str(), latest.attempts);
    }
    line
}

/// One line on a delivery.
pub(super) fn delivery(delivery: &Delivery) -> String {
    let state = match delivery.state {
        DeliveryState::Pending { due } => format!("pending, due {due}"),
        state => state.status().as_str().to_owned(),
    };
    let attempts = delivery.attempt();
    format!(
        "{} {} of {}: {state}, {attempts} of {} attempts",
        delivery.id, delivery.kind, delivery.job, delivery.max_attempts
    )
}

/// One line on a dead letter.
pub(super) fn dead_letter(letter: &DeadLetter) -> String {
    let retried = match (letter.retried_at, letter.retry_success) {
        (Some(at), Some(true)) => format!("delivered by a retry, last tried {at}"),
        (Some(at), _) => format!("retried in vain, last {at}"),
        (None, _) => "not retried".into(),
    };
    format!(
        "{} {} of {}: {} after {} attempts; {retried}",
        letter.id, letter.kind, letter.job, letter.error, letter.attempts
    )
}
