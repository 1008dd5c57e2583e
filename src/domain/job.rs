//! The job: what it was registered with, where it stands, and what is known of its webhook.

use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::id::{DeliveryId, JobId, SecretId, Seq};
use super::time::Timestamp;

pub use super::spec::{ExpiresAfter, JobError, JobSpec, Report, RequestCounts};
pub use super::status::Status;

/// When a job got where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestones {
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it becomes `expired` by itself.
    pub expires_at: Timestamp,
    /// When it became `in_progress`.
    pub in_progress_at: Option<Timestamp>,
    /// When it became `finalizing`.
    pub finalizing_at: Option<Timestamp>,
    /// When it became `completed`.
    pub completed_at: Option<Timestamp>,
    /// When it became `failed`.
    pub failed_at: Option<Timestamp>,
    /// When it became `expired`.
    pub expired_at: Option<Timestamp>,
    /// When it became `cancelling`.
    pub cancelling_at: Option<Timestamp>,
    /// When it became `cancelled`.
    pub cancelled_at: Option<Timestamp>,
}

impl Milestones {
    /// Notes that `status` was reached.
    pub fn reach(&mut self, status: Status, at: Timestamp) {
        let milestone = match status {
            Status::Validating => return,
            Status::InProgress => &mut self.in_progress_at,
            Status::Finalizing => &mut self.finalizing_at,
            Status::Completed => &mut self.completed_at,
            Status::Failed => &mut self.failed_at,
            Status::Expired => &mut self.expired_at,
            Status::Cancelling => &mut self.cancelling_at,
            Status::Cancelled => &mut self.cancelled_at,
        };
        *milestone = Some(at);
    }
}

/// How the newest delivery of a job stands: `webhook_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookStatus {
    /// On its way.
    Pending,
    /// The receiver has it.
    Sent,
    /// Given up: a dead letter.
    Failed,
}

impl WebhookStatus {
    /// The name in the batch object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// What a job shows of its newest delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestDelivery {
    /// Which one it is.
    pub id: DeliveryId,
    /// How it stands.
    pub status: WebhookStatus,
    /// Attempts made.
    pub attempts: u32,
    /// The text of its newest failure; `None` once it was delivered.
    pub error: Option<String>,
    /// When its newest attempt began.
    pub last_attempt_at: Option<Timestamp>,
}

/// What signs for a job's webhook since its secret was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    /// Names the newest secret.
    pub secret: SecretId,
    /// Names the one before it; without one, what signs for webhooks that have no secret of their own.
    pub former: Option<SecretId>,
    /// Until when that signs as well.
    pub former_until: Timestamp,
}

/// A job, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// What it was registered with.
    #[serde(with = "super::spec::whole")]
    pub spec: JobSpec,
    /// What signs for its webhook, where that is not what it was registered with any more.
    pub signing: Option<Signing>,
    /// Where it stands.
    pub status: Status,
    /// Its requests.
    pub counts: RequestCounts,
    /// The file with the results.
    pub output_file_id: Option<String>,
    /// The file with the errors.
    pub error_file_id: Option<String>,
    /// What went wrong with the job as a whole.
    pub errors: Vec<JobError>,
    /// When it got where.
    pub times: Milestones,
    /// Raised by every change of the job itself, not by what becomes of its webhook: the `ETag`.
    pub version: u64,
    /// The position of its registration: what lists are ordered by.
    pub registered: Seq,
    /// The position of its newest event: where a walk through its history begins.
    pub head: Seq,
    /// When that was recorded.
    pub touched: Timestamp,
    /// Its newest delivery, which names the one before it.
    pub latest: Option<LatestDelivery>,
    /// How many of its deliveries are pending or in flight.
    pub active: u32,
    /// The payloads of deliveries that were scheduled before this position were erased.
    pub erased: Seq,
    /// Its newest progress delivery, while nothing has superseded it.
    pub progress: Option<DeliveryId>,
}

impl Job {
    /// A job that was just registered.
    #[must_use]
    pub fn registered(id: JobId, spec: JobSpec, expires_at: Timestamp, at: Timestamp, seq: Seq) -> Self {
        Self {
            id,
            status: Status::default(),
            counts: RequestCounts { total: spec.total, ..RequestCounts::default() },
            output_file_id: None,
            error_file_id: None,
            errors: Vec::new(),
            times: Milestones { created_at: at, expires_at, ..Milestones::default() },
            version: 1,
            registered: seq,
            head: seq,
            touched: at,
            latest: None,
            active: 0,
            erased: Seq::ZERO,
            progress: None,
            signing: None,
            spec,
        }
    }

    /// Names the newest secret of its webhook's own, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<SecretId> {
        self.signing.map(|signing| signing.secret).or_else(|| self.spec.webhook.as_ref()?.secret)
    }

    /// Whether nothing will happen to it by itself any more, and nothing has since `before`.
    #[must_use]
    pub fn is_over_since(&self, before: Timestamp) -> bool {
        self.status.is_terminal() && self.active == 0 && self.touched <= before
    }

    /// Whether the payload of one of its deliveries was erased.
    #[must_use]
    pub fn has_erased(&self, delivery: &Delivery) -> bool {
        delivery.scheduled < self.erased
    }

    /// Takes over what a report says, the status included.
    pub fn apply(&mut self, report: &Report, at: Timestamp) {
        if let Some(status) = report.status.filter(|&status| status != self.status) {
            self.status = status;
            self.times.reach(status, at);
        }
        self.counts = RequestCounts {
            total: report.total.unwrap_or(self.counts.total),
            completed: report.completed.unwrap_or(self.counts.completed),
            failed: report.failed.unwrap_or(self.counts.failed),
        };
        let file = |new: &Option<String>, old: &mut Option<String>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        file(&report.output_file_id, &mut self.output_file_id);
        file(&report.error_file_id, &mut self.error_file_id);
        if let Some(errors) = &report.errors {
            self.errors.clone_from(errors);
        }
    }

    /// The part of a report that does not already hold.
    #[must_use]
    pub fn news(&self, report: &Report) -> Report {
        fn news<T: Clone>(new: Option<&T>, holds: impl Fn(&T) -> bool) -> Option<T> {
            new.filter(|new| !holds(new)).cloned()
        }
        Report {
            status: news(report.status.as_ref(), |&status| status == self.status),
            total: news(report.total.as_ref(), |&total| total == self.counts.total),
            completed: news(report.completed.as_ref(), |&completed| completed == self.counts.completed),
            failed: news(report.failed.as_ref(), |&failed| failed == self.counts.failed),
            output_file_id: news(report.output_file_id.as_ref(), |id| Some(id) == self.output_file_id.as_ref()),
            error_file_id: news(report.error_file_id.as_ref(), |id| Some(id) == self.error_file_id.as_ref()),
            errors: news(report.errors.as_ref(), |errors| *errors == self.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_already_holds_is_no_news() {
        let mut job = Job::registered(
            JobId::new("j").unwrap(),
            JobSpec::default(),
            Timestamp::default(),
            Timestamp::default(),
            Seq(1),
        );
        let report =
            Report { completed: Some(3), output_file_id: Some("file".into()), ..Report::of(Status::Completed) };
        assert_eq!(job.news(&report), report);
        job.apply(&report, Timestamp::from_millis(7));
        assert!(job.news(&report).is_empty());
        assert_eq!(job.times.completed_at, Some(Timestamp::from_millis(7)));
    }
}
