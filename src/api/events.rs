//! Events as a client sees them: what was decided and what came of it, without any secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::delivery::AttemptEnd;
use crate::domain::event::{Envelope, Event};
use crate::domain::job::{ExpiresAfter, JobError, JobSpec, Report};
use crate::domain::options::WebhookOptions;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{EventKind, Format, Webhook};

/// One event of the log.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventObject {
    /// Its position in the log.
    seq: u64,
    /// When it was recorded.
    at: String,
    /// The batch that it tells of.
    batch_id: String,
    #[serde(flatten)]
    what: What,
}

/// What happened.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "it lives for one answer")]
enum What {
    /// A client registered the batch.
    JobRegistered { spec: SpecObject, expires_at: String },
    /// The batch's status changed, and with it whatever else was reported.
    JobTransitioned { report: ReportObject },
    /// Something was reported without a change of status.
    ProgressReported { report: ReportObject },
    /// A webhook is to be told.
    DeliveryScheduled {
        delivery_id: String,
        /// What it is told.
        event: &'static str,
        /// The total number of attempts.
        max_attempts: u32,
        /// Seconds for a whole attempt.
        timeout: u32,
    },
    /// An attempt is being made.
    AttemptStarted { delivery_id: String, attempt: u32 },
    /// The receiver took it.
    AttemptSucceeded {
        delivery_id: String,
        attempt: u32,
        #[serde(flatten)]
        end: EndObject,
    },
    /// The receiver did not take it.
    AttemptFailed {
        delivery_id: String,
        attempt: u32,
        #[serde(flatten)]
        end: EndObject,
        /// When the next attempt may begin; null when there is none.
        retry_at: Option<String>,
    },
    /// The process ended during an attempt, which is made again under its number.
    AttemptInterrupted { delivery_id: String, attempt: u32 },
    /// No attempt is left.
    DeliveryExhausted { delivery_id: String, dead_letter_id: u64 },
    /// Newer news took the delivery's place.
    DeliverySuperseded { delivery_id: String },
    /// Somebody asked for one more attempt.
    RedeliveryRequested { delivery_id: String, forced: bool },
    /// The dead letter was deleted.
    DeadLetterDeleted { delivery_id: String, dead_letter_id: u64 },
    /// The batch's webhook has options; those that it has not are null.
    WebhookConfigured {
        /// Whether it has headers of its own. What they are is not shown.
        headers: bool,
        /// Attempts in a second at most, to its destination.
        rate_limit: Option<u32>,
        /// Seconds to wait after the first failed attempt, the second, …
        retry_schedule: Option<Vec<u32>>,
    },
    /// The batch's webhook was given another secret.
    SecretRotated {
        /// Until when what signed before signs as well.
        former_until: String,
    },
    /// The batch was over and its retention too; its last event. Its id may be registered again.
    JobPruned,
    /// The payloads of the batch's deliveries were erased.
    PayloadsErased {
        /// Of how many deliveries.
        deliveries: u32,
    },
}

/// How an attempt ended.
#[derive(Serialize, JsonSchema)]
pub(super) struct EndObject {
    /// Milliseconds.
    duration_ms: Option<u32>,
    /// The HTTP status code, where there was an answer.
    status_code: Option<u16>,
    /// Why it failed.
    error: Option<String>,
    /// The beginning of the response's body.
    response_excerpt: Option<String>,
}

impl From<Option<&AttemptEnd>> for EndObject {
    fn from(end: Option<&AttemptEnd>) -> Self {
        Self {
            duration_ms: end.map(|end| end.duration_ms),
            status_code: end.and_then(|end| end.status_code),
            error: end.and_then(|end| end.error.clone()),
            response_excerpt: end.and_then(|end| end.excerpt.clone()),
        }
    }
}

/// What a batch was registered with, in the words of `POST /v1/batches`; what was left out is null.
#[derive(Serialize, JsonSchema)]
struct SpecObject {
    input_file_id: Option<String>,
    endpoint: String,
    completion_window: String,
    metadata: BTreeMap<String, String>,
    output_expires_after: Option<ExpiresAfter>,
    priority: i8,
    /// How many requests the batch has.
    total: u64,
    webhook: Option<WebhookObject>,
    report: ReportObject,
}

/// A batch's webhook.
#[derive(Serialize, JsonSchema)]
struct WebhookObject {
    url: String,
    /// Whether it has a secret of its own. Not even the secret's id is shown.
    signed: bool,
    max_retries: Option<u32>,
    timeout: Option<u32>,
    events: Option<Vec<&'static str>>,
    format: &'static str,
}

/// What a report says; what it does not say is left out.
#[derive(Serialize, JsonSchema)]
struct ReportObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_file_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_file_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<JobError>>,
}

impl From<&Envelope> for EventObject {
    fn from(Envelope { seq, at, job, event, .. }: &Envelope) -> Self {
        Self { seq: seq.0, at: at.to_string(), batch_id: job.to_string(), what: event.into() }
    }
}

impl From<&Event> for What {
    fn from(event: &Event) -> Self {
        match event {
            Event::JobRegistered { spec, expires_at } => {
                Self::JobRegistered { spec: spec.into(), expires_at: expires_at.to_string() }
            }
            Event::JobTransitioned { report } => Self::JobTransitioned { report: report.into() },
            Event::ProgressReported { report } => Self::ProgressReported { report: report.into() },
            Event::DeliveryScheduled { delivery, kind, max_attempts, timeout, .. } => Self::DeliveryScheduled {
                delivery_id: delivery.to_string(),
                event: kind.as_str(),
                max_attempts: *max_attempts,
                timeout: *timeout,
            },
            Event::AttemptStarted { delivery, attempt } => {
                Self::AttemptStarted { delivery_id: delivery.to_string(), attempt: *attempt }
            }
            Event::AttemptSucceeded { delivery, attempt, end } => {
                Self::AttemptSucceeded { delivery_id: delivery.to_string(), attempt: *attempt, end: Some(end).into() }
            }
            Event::AttemptFailed { delivery, attempt, end, retry_at } => Self::AttemptFailed {
                delivery_id: delivery.to_string(),
                attempt: *attempt,
                end: Some(end).into(),
                retry_at: retry_at.as_ref().map(Timestamp::to_string),
            },
            Event::AttemptInterrupted { delivery, attempt, .. } => {
                Self::AttemptInterrupted { delivery_id: delivery.to_string(), attempt: *attempt }
            }
            Event::DeliveryExhausted { delivery, dead_letter } => {
                Self::DeliveryExhausted { delivery_id: delivery.to_string(), dead_letter_id: dead_letter.0 }
            }
            Event::DeliverySuperseded { delivery } => Self::DeliverySuperseded { delivery_id: delivery.to_string() },
            Event::RedeliveryRequested { delivery, forced } => {
                Self::RedeliveryRequested { delivery_id: delivery.to_string(), forced: *forced }
            }
            Event::DeadLetterDeleted { delivery, dead_letter } => {
                Self::DeadLetterDeleted { delivery_id: delivery.to_string(), dead_letter_id: dead_letter.0 }
            }
            Event::WebhookConfigured { options: WebhookOptions { headers, rate_limit, retry_schedule } } => {
                Self::WebhookConfigured {
                    headers: headers.is_some(),
                    rate_limit: *rate_limit,
                    retry_schedule: retry_schedule.clone(),
                }
            }
            Event::SecretRotated { former_until, .. } => Self::SecretRotated { former_until: former_until.to_string() },
            Event::JobPruned => Self::JobPruned,
            Event::PayloadsErased { deliveries } => Self::PayloadsErased { deliveries: *deliveries },
        }
    }
}

impl From<&JobSpec> for SpecObject {
    fn from(spec: &JobSpec) -> Self {
        Self {
            input_file_id: spec.input_file_id.clone(),
            endpoint: spec.endpoint.clone(),
            completion_window: spec.completion_window.clone(),
            metadata: spec.metadata.clone(),
            output_expires_after: spec.output_expires_after.clone(),
            priority: spec.priority,
            total: spec.total,
            webhook: spec.webhook.as_ref().map(WebhookObject::from),
            report: (&spec.report).into(),
        }
    }
}

impl From<&Webhook> for WebhookObject {
    fn from(webhook: &Webhook) -> Self {
        let names = |kinds: &Vec<EventKind>| kinds.iter().copied().map(EventKind::as_str).collect();
        Self {
            url: webhook.url.clone(),
            signed: webhook.secret.is_some(),
            max_retries: webhook.max_retries,
            timeout: webhook.timeout,
            events: webhook.events.as_ref().map(names),
            format: match webhook.format {
                Format::Batch => "batch",
                Format::Event => "event",
            },
        }
    }
}

impl From<&Report> for ReportObject {
    fn from(report: &Report) -> Self {
        let Report { status, total, completed, failed, output_file_id, error_file_id, errors } = report.clone();
        let status = status.map(crate::domain::job::Status::as_str);
        Self { status, total, completed, failed, output_file_id, error_file_id, errors }
    }
}
