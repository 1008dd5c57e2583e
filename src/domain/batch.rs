//! The batch object: a job as clients and receivers see it. OpenAI's object, and what the seed adds to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::job::{ExpiresAfter, Job, JobError, RequestCounts, WebhookStatus};
use super::time::Timestamp;

/// A job in OpenAI's form: times in Unix seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub struct BatchObject {
    /// The job's id.
    pub id: String,
    /// Always `batch`.
    pub object: String,
    /// What its requests are for.
    pub endpoint: String,
    /// The model, where OpenAI's clients expect it: not known here.
    pub model: Option<String>,
    /// What went wrong with the job as a whole.
    pub errors: Option<BatchErrors>,
    /// The file that it works on.
    pub input_file_id: Option<String>,
    /// How long it may take.
    pub completion_window: String,
    /// Where it stands.
    pub status: String,
    /// The file with the results.
    pub output_file_id: Option<String>,
    /// The file with the errors.
    pub error_file_id: Option<String>,
    /// When it was registered.
    pub created_at: i64,
    /// When it became `in_progress`.
    pub in_progress_at: Option<i64>,
    /// When it becomes `expired` by itself.
    pub expires_at: i64,
    /// When it became `finalizing`.
    pub finalizing_at: Option<i64>,
    /// When it became `completed`.
    pub completed_at: Option<i64>,
    /// When it became `failed`.
    pub failed_at: Option<i64>,
    /// When it became `expired`.
    pub expired_at: Option<i64>,
    /// When it became `cancelling`.
    pub cancelling_at: Option<i64>,
    /// When it became `cancelled`.
    pub cancelled_at: Option<i64>,
    /// Its requests.
    pub request_counts: RequestCounts,
    /// The client's own pairs.
    pub metadata: Option<BTreeMap<String, String>>,
    /// How long its output is kept.
    pub output_expires_after: Option<ExpiresAfter>,
    /// -1, 0 or 1.
    pub priority: i8,
    /// Where its webhook goes.
    pub webhook_url: Option<String>,
    /// `null`, `pending`, `sent` or `failed`: its newest delivery.
    pub webhook_status: Option<String>,
    /// Attempts of its newest delivery.
    pub webhook_attempts: u32,
    /// The newest failure of its newest delivery, unless that was delivered.
    pub webhook_error: Option<String>,
    /// When the newest attempt of its newest delivery began.
    pub webhook_last_attempt: Option<i64>,
}

/// A job's errors in OpenAI's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
pub struct BatchErrors {
    /// Always `list`.
    pub object: String,
    /// The errors.
    pub data: Vec<JobError>,
}

impl From<&Job> for BatchObject {
    fn from(job: &Job) -> Self {
        let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_seconds);
        let Job { spec, times, latest, .. } = job;
        Self {
            id: job.id.to_string(),
            object: "batch".into(),
            endpoint: spec.endpoint.clone(),
            model: None,
            errors: (!job.errors.is_empty()).then(|| BatchErrors { object: "list".into(), data: job.errors.clone() }),
            input_file_id: spec.input_file_id.clone(),
            completion_window: spec.completion_window.clone(),
            status: job.status.to_string(),
            output_file_id: job.output_file_id.clone(),
            error_file_id: job.error_file_id.clone(),
            created_at: times.created_at.as_seconds(),
            in_progress_at: seconds(times.in_progress_at),
            expires_at: times.expires_at.as_seconds(),
            finalizing_at: seconds(times.finalizing_at),
            completed_at: seconds(times.completed_at),
            failed_at: seconds(times.failed_at),
            expired_at: seconds(times.expired_at),
            cancelling_at: seconds(times.cancelling_at),
            cancelled_at: seconds(times.cancelled_at),
            request_counts: job.counts,
            metadata: (!spec.metadata.is_empty()).then(|| spec.metadata.clone()),
            output_expires_after: spec.output_expires_after.clone(),
            priority: spec.priority,
            webhook_url: spec.webhook.as_ref().map(|webhook| webhook.url.clone()),
            webhook_status: latest.as_ref().map(|latest| latest.status).map(WebhookStatus::as_str).map(Into::into),
            webhook_attempts: latest.as_ref().map_or(0, |latest| latest.attempts),
            webhook_error: latest.as_ref().and_then(|latest| latest.error.clone()),
            webhook_last_attempt: seconds(latest.as_ref().and_then(|latest| latest.last_attempt_at)),
        }
    }
}
