//! Events and rows as a person reads them.

use std::fmt::Write;

use crate::domain::delivery::{AttemptEnd, DeadLetter, Delivery, DeliveryState};
use crate::domain::event::{Envelope, Event};
use crate::domain::job::{Job, Report};
use crate::domain::options::WebhookOptions;
use crate::domain::time::Timestamp;

/// One line: position, time, name, and what matters of it.
pub(super) fn event(envelope: &Envelope) -> String {
    let Envelope { seq, at, job, event, .. } = envelope;
    format!("{:>5}  {}  {job:<10} {:<20} {}", seq.0, clock(*at), event.name(), details(event))
}

/// The time of day with milliseconds, UTC.
fn clock(at: Timestamp) -> String {
    let iso = at.to_string();
    iso.split_once('T').map_or(iso.clone(), |(_, time)| time.trim_end_matches('Z').to_owned())
}

fn details(event: &Event) -> String {
    match event {
        Event::JobRegistered { spec, .. } => {
            spec.webhook.as_ref().map_or("no webhook".into(), |webhook| format!("webhook {}", webhook.url))
        }
        Event::JobTransitioned { report } | Event::ProgressReported { report } => reported(report),
        Event::DeliveryScheduled { delivery, kind, max_attempts, .. } => {
            format!("{kind}, at most {max_attempts} attempts, {delivery}")
        }
        Event::AttemptStarted { attempt, .. } => format!("attempt {attempt}"),
        Event::AttemptSucceeded { attempt, end, .. } => format!("attempt {attempt}: {}", ended(end)),
        Event::AttemptFailed { attempt, end, retry_at, .. } => match retry_at {
            Some(at) => format!("attempt {attempt}: {}; next at {}", ended(end), clock(*at)),
            None => format!("attempt {attempt}: {}; no further one", ended(end)),
        },
        Event::AttemptInterrupted { attempt, .. } => format!("attempt {attempt}, to be repeated"),
        Event::DeliveryExhausted { dead_letter, .. } => format!("dead letter {dead_letter}"),
        Event::DeliverySuperseded { delivery } => format!("by newer news: {delivery}"),
        Event::RedeliveryRequested { forced: true, .. } => "forced".into(),
        Event::RedeliveryRequested { .. } => String::new(),
        Event::DeadLetterDeleted { dead_letter, .. } => format!("dead letter {dead_letter}"),
        Event::WebhookConfigured { options } => configured(options),
        Event::SecretRotated { former_until, .. } => format!("the former one signs until {}", clock(*former_until)),
        Event::JobPruned => String::new(),
        Event::PayloadsErased { deliveries } => format!("of {deliveries} deliveries"),
    }
}

fn configured(options: &WebhookOptions) -> String {
    let headers = options.headers.map(|_| "headers".to_owned());
    let rate = options.rate_limit.map(|rate| format!("at most {rate}/s"));
    let waits = |waits: &Vec<u32>| waits.iter().map(|wait| format!("{wait} s")).collect::<Vec<_>>().join(", ");
    let schedule = options.retry_schedule.as_ref().map(|schedule| format!("retries after {}", waits(schedule)));
    [headers, rate, schedule].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn reported(report: &Report) -> String {
    let status = report.status.map(|status| format!("now {status}"));
    let count = |name: &str, count: Option<u64>| count.map(|count| format!("{name} {count}"));
    let counts = [count("total", report.total), count("completed", report.completed), count("failed", report.failed)];
    status.into_iter().chain(counts.into_iter().flatten()).collect::<Vec<_>>().join(", ")
}

fn ended(end: &AttemptEnd) -> String {
    let answer = match (&end.error, end.status_code) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("HTTP {status}"),
        (None, None) => "succeeded".into(),
    };
    format!("{answer} after {} ms", end.duration_ms)
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
