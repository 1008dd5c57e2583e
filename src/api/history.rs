//! A batch's events, as a client sees them: what was decided and what came of it, without any secret.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::batches::find;
use super::path::BatchPath;
use super::problem::Problem;
use super::query::Params;
use super::{Shared, answer, blocking};
use crate::domain::delivery::AttemptEnd;
use crate::domain::event::{Envelope, Event};
use crate::domain::job::{JobSpec, Report};
use crate::domain::webhook::{EventKind, Format, Webhook};

/// An event in the API.
#[derive(Serialize)]
struct EventObject {
    seq: u64,
    at: String,
    batch_id: String,
    r#type: &'static str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// `GET /v1/batches/{id}/history`
pub(super) async fn show(
    State(app): State<Shared>,
    BatchPath(id): BatchPath,
    _: Params<()>,
) -> Result<Response, Problem> {
    let read = blocking(&app, move |app| {
        let job = find(app, &id)?;
        let history = app.handle.views().history(&job).map_err(Problem::storage)?;
        Ok(history.iter().map(EventObject::from).collect::<Vec<_>>())
    });
    answer(StatusCode::OK, &json!({"object": "list", "data": read.await?}))
}

impl From<&Envelope> for EventObject {
    fn from(Envelope { seq, at, job, event, .. }: &Envelope) -> Self {
        let mut fields = Map::new();
        if let Some(delivery) = event.delivery() {
            fields.insert("delivery_id".into(), delivery.to_string().into());
        }
        if let Value::Object(own) = own_fields(event) {
            fields.extend(own);
        }
        Self { seq: seq.0, at: at.to_string(), batch_id: job.to_string(), r#type: event.name(), fields }
    }
}

fn own_fields(event: &Event) -> Value {
    match event {
        Event::JobRegistered { spec, expires_at } => {
            json!({"spec": spec_of(spec), "expires_at": expires_at.to_string()})
        }
        Event::JobTransitioned { report } | Event::ProgressReported { report } => json!({"report": report_of(report)}),
        Event::DeliveryScheduled { kind, max_attempts, timeout, .. } => {
            json!({"event": kind.as_str(), "max_attempts": max_attempts, "timeout": timeout})
        }
        Event::AttemptStarted { attempt, .. } | Event::AttemptInterrupted { attempt, .. } => {
            json!({"attempt": attempt})
        }
        Event::AttemptSucceeded { attempt, end, .. } => attempt_end(*attempt, end),
        Event::AttemptFailed { attempt, end, retry_at, .. } => {
            let mut failed = attempt_end(*attempt, end);
            failed["retry_at"] = retry_at.map(|at| at.to_string()).into();
            failed
        }
        Event::DeliveryExhausted { dead_letter, .. } | Event::DeadLetterDeleted { dead_letter, .. } => {
            json!({"dead_letter_id": dead_letter.0})
        }
        Event::DeliverySuperseded { .. } => json!({}),
        Event::RedeliveryRequested { forced, .. } => json!({"forced": forced}),
    }
}

fn attempt_end(attempt: u32, end: &AttemptEnd) -> Value {
    json!({
        "attempt": attempt,
        "duration_ms": end.duration_ms,
        "status_code": end.status_code,
        "error": end.error,
        "response_excerpt": end.excerpt,
    })
}

/// A specification in the words of `POST /v1/batches`; what was left out is `null`.
fn spec_of(spec: &JobSpec) -> Value {
    json!({
        "input_file_id": spec.input_file_id,
        "endpoint": spec.endpoint,
        "completion_window": spec.completion_window,
        "metadata": spec.metadata,
        "output_expires_after": spec.output_expires_after,
        "priority": spec.priority,
        "total": spec.total,
        "webhook": spec.webhook.as_ref().map(webhook_of),
        "report": report_of(&spec.report),
    })
}

fn webhook_of(webhook: &Webhook) -> Value {
    let events =
        webhook.events.as_ref().map(|events| events.iter().copied().map(EventKind::as_str).collect::<Vec<_>>());
    json!({
        "url": webhook.url,
        // Whether it has a secret of its own. Not even the secret's id is shown.
        "signed": webhook.secret.is_some(),
        "max_retries": webhook.max_retries,
        "timeout": webhook.timeout,
        "events": events,
        "format": match webhook.format {
            Format::Batch => "batch",
            Format::Event => "event",
        },
    })
}

/// What a report says; what it does not say is left out.
fn report_of(report: &Report) -> Value {
    let Report { status, total, completed, failed, output_file_id, error_file_id, errors } = report;
    let said: [(&str, Option<Value>); 7] = [
        ("status", status.map(|status| status.as_str().into())),
        ("total", total.map(Value::from)),
        ("completed", completed.map(Value::from)),
        ("failed", failed.map(Value::from)),
        ("output_file_id", output_file_id.clone().map(Value::from)),
        ("error_file_id", error_file_id.clone().map(Value::from)),
        ("errors", errors.as_ref().map(|errors| json!(errors))),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}
