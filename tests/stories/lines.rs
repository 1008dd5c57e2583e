//! What happened, in one readable line each.

use std::collections::BTreeMap;
use std::fmt::Write;

use hookledger::domain::delivery::{AttemptEnd, DeadLetter, Delivery, DeliveryState};
use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::id::DeliveryId;
use hookledger::domain::job::{Job, Report};
use hookledger::domain::options::WebhookOptions;
use hookledger::domain::rejection::Rejection;
use hookledger::domain::state::Totals;
use hookledger::domain::time::Timestamp;
use hookledger::engine::{Answer, Retried};

/// How the story calls its deliveries: `d1`, `d2`, … in the order in which they were scheduled. Times are seconds since
/// its beginning.
#[derive(Clone)]
pub struct Names {
    pub start: Timestamp,
    pub deliveries: BTreeMap<DeliveryId, usize>,
}

impl Names {
    pub fn time(&self, at: Timestamp) -> String {
        let millis = at.as_millis() - self.start.as_millis();
        let sign = if millis < 0 { '-' } else { '+' };
        format!("{sign}{}.{:03}", millis.abs() / 1000, millis.abs() % 1000)
    }

    pub fn delivery(&self, id: DeliveryId) -> String {
        self.deliveries.get(&id).map_or_else(|| format!("an unknown delivery {id}"), |number| format!("d{number}"))
    }

    pub fn event(&self, envelope: &Envelope) -> String {
        let Envelope { seq, at, job, prev, event } = envelope;
        let said = match event {
            Event::JobRegistered { spec, expires_at } => {
                let url = spec.webhook.as_ref().map_or("nobody", |webhook| &webhook.url);
                format!("tells {url}, expires {}", self.time(*expires_at))
            }
            Event::JobTransitioned { report } | Event::ProgressReported { report } => reported(report),
            Event::DeliveryScheduled { delivery, kind, max_attempts, timeout, .. } => {
                format!("{} = {delivery}: {kind}, {max_attempts} attempts of {timeout} s", self.delivery(*delivery))
            }
            Event::AttemptStarted { delivery, attempt } | Event::AttemptInterrupted { delivery, attempt, .. } => {
                format!("{} attempt {attempt}", self.delivery(*delivery))
            }
            Event::AttemptSucceeded { delivery, attempt, end } => {
                format!("{} attempt {attempt}: {}", self.delivery(*delivery), ended(end))
            }
            Event::AttemptFailed { delivery, attempt, end, retry_at } => {
                let again = retry_at.map_or("not again".into(), |at| format!("again at {}", self.time(at)));
                format!("{} attempt {attempt}: {}, {again}", self.delivery(*delivery), ended(end))
            }
            Event::DeliveryExhausted { delivery, dead_letter } | Event::DeadLetterDeleted { delivery, dead_letter } => {
                format!("{}, dead letter {dead_letter}", self.delivery(*delivery))
            }
            Event::DeliverySuperseded { delivery } => self.delivery(*delivery),
            Event::RedeliveryRequested { delivery, forced } => {
                format!("{}{}", self.delivery(*delivery), if *forced { ", forced" } else { "" })
            }
            Event::WebhookConfigured { options: WebhookOptions { headers, rate_limit, retry_schedule } } => {
                let headers = headers.map(|_| "headers".to_owned());
                let rate = rate_limit.map(|rate| format!("at most {rate}/s"));
                let schedule = retry_schedule.as_ref().map(|waits| format!("retries after {waits:?} s"));
                [headers, rate, schedule].into_iter().flatten().collect::<Vec<_>>().join(", ")
            }
            Event::SecretRotated { former_until, .. } => {
                format!("what signed before signs until {}", self.time(*former_until))
            }
            Event::JobPruned => String::new(),
            Event::PayloadsErased { deliveries } => format!("of {deliveries} deliveries"),
        };
        let line = format!("{seq:>3} {:>10}  {job} (after {prev})  {}  {said}", self.time(*at), event.name());
        line.trim_end().into()
    }

    /// The rows, whichever way they were come by.
    pub fn rows(&self, mut rows: Rows) -> String {
        rows.jobs.sort_by_key(|job| job.registered);
        rows.deliveries.sort_by_key(|delivery| self.deliveries.get(&delivery.id).copied());
        rows.letters.sort_by_key(|letter| letter.id);
        let jobs = rows.jobs.iter().map(|job| self.job(job));
        let deliveries = rows.deliveries.iter().map(|delivery| self.delivery_row(delivery));
        let letters = rows.letters.iter().map(|letter| self.letter(letter));
        let totals =
            format!("{} dead letters, the newest is {}", rows.totals.dead_letters, rows.totals.last_dead_letter);
        jobs.chain(deliveries).chain(letters).chain([totals]).fold(String::new(), |mut out, row| {
            writeln!(out, "    | {row}").unwrap();
            out
        })
    }

    fn job(&self, job: &Job) -> String {
        let counts = &job.counts;
        let webhook = match &job.latest {
            None => "no webhook sent".into(),
            Some(latest) => {
                let error = latest.error.as_ref().map(|error| format!(", {error}")).unwrap_or_default();
                let last = latest.last_attempt_at.map(|at| format!(", last {}", self.time(at))).unwrap_or_default();
                let status = latest.status.as_str();
                format!("{} {status}, {} attempts{last}{error}", self.delivery(latest.id), latest.attempts)
            }
        };
        let (status, version, head) = (job.status, job.version, job.head);
        let (total, completed, failed) = (counts.total, counts.completed, counts.failed);
        format!(
            "job {}: {status}, version {version}, {completed}+{failed}/{total}, head {head}; webhook: {webhook}",
            job.id
        )
    }

    fn delivery_row(&self, delivery: &Delivery) -> String {
        let state = match delivery.state {
            DeliveryState::Pending { due } => format!("pending until {}", self.time(due)),
            state => state.status().as_str().into(),
        };
        let attempts: Vec<_> = delivery
            .attempts
            .iter()
            .map(|attempt| {
                let end = attempt.end.as_ref().map_or("under way".into(), ended);
                let again = "interrupted ".repeat(attempt.interruptions as usize);
                format!("{} at {} {again}{end}", attempt.number, self.time(attempt.started_at))
            })
            .collect();
        let (id, kind, max) = (self.delivery(delivery.id), delivery.kind, delivery.max_attempts);
        format!("delivery {id}: {kind}, {state}, at most {max} attempts: [{}]", attempts.join("; "))
    }

    fn letter(&self, letter: &DeadLetter) -> String {
        let retried = match (letter.retried_at, letter.retry_success) {
            (None, None) => "never retried".into(),
            (Some(at), Some(success)) => format!("retried {}, success: {success}", self.time(at)),
            other => format!("{other:?}"),
        };
        let (id, delivery, error) = (letter.id, self.delivery(letter.delivery), &letter.error);
        format!("dead letter {id}: {delivery} {}, {error}, {} attempts, {retried}", letter.kind, letter.attempts)
    }

    pub fn reply(&self, reply: &Result<Answer, Rejection>) -> String {
        match reply {
            Err(rejection) => format!("refused: {rejection}"),
            Ok(Answer::Job(job)) => format!("{} is {}, version {}", job.id, job.status, job.version),
            Ok(Answer::Retried(Retried { id, success, retried_at, forced, .. })) => {
                let at = retried_at.map(|at| self.time(at)).unwrap_or_default();
                format!("dead letter {id} retried {at}, success: {success:?}, forced: {forced}")
            }
            Ok(Answer::Many(many)) => format!("{many} done"),
            Ok(Answer::Done) => "done".into(),
        }
    }
}

/// Everything that there is to see.
pub struct Rows {
    pub jobs: Vec<Job>,
    pub deliveries: Vec<Delivery>,
    pub letters: Vec<DeadLetter>,
    pub totals: Totals,
}

fn reported(report: &Report) -> String {
    let Report { status, total, completed, failed, output_file_id, error_file_id, errors } = report;
    let number = |name: &str, number: &Option<u64>| number.map(|number| format!("{name} {number}"));
    let text = |name: &str, text: &Option<String>| text.as_ref().map(|text| format!("{name} {text}"));
    let said = [
        status.map(|status| status.to_string()),
        number("total", total),
        number("completed", completed),
        number("failed", failed),
        text("output", output_file_id),
        text("errors", error_file_id),
        errors.as_ref().map(|errors| format!("{} errors", errors.len())),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn ended(end: &AttemptEnd) -> String {
    let code = end.status_code.map(|code| code.to_string());
    end.error.clone().or(code).unwrap_or_else(|| "nothing".into())
}
