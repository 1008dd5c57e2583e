//! What a command means: the events that it causes, or why it is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use super::command::{Command, Rotation};
use super::delivery::{AttemptEnd, DeadLetter, Delivery, DeliveryState};
use super::event::Event;
use super::id::{DeadLetterId, DeliveryId, JobId};
use super::job::{Job, JobSpec, Report, Status};
use super::options::WebhookOptions;
use super::outcome::{Outcome, excerpt};
use super::rejection::{Invalid, Rejection};
use super::retry::{Verdict, judge, scheduled_wait};
use super::state::State;
use super::time::Timestamp;
use super::webhook::{Destination, EventKind, Webhook};

/// How often a crash may interrupt one attempt before that counts as a failure: an attempt that takes the process with
/// it must not do so for ever.
const MAX_INTERRUPTIONS: u32 = 3;

/// What a decision needs from outside: the time, and an id for the delivery that it may schedule.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The time now.
    pub now: Timestamp,
    /// An id that no delivery has; a command schedules one delivery at most.
    pub delivery: DeliveryId,
}

type Decision = Result<Vec<Event>, Rejection>;

/// Decides what `command` means for a job in `state`. No events: it already holds.
///
/// What the command names has to be at hand in `state`, where it exists: the job, the delivery, and the job's newest
/// progress delivery; of a job that is to be pruned, or whose payloads are to be erased, all that it has.
///
/// # Errors
/// Says why the command is refused; nothing is to be recorded then.
pub fn decide(state: &State, command: &Command, stamp: Stamp) -> Decision {
    match command {
        Command::Register { id, spec } => register(state, id, spec, stamp),
        Command::Report { job, if_match, report, rotation } => {
            let job = known_job(state, job)?;
            report.check()?;
            match if_match {
                Some(version) if *version != job.version => Err(Rejection::Stale { version: job.version }),
                _ => {
                    let mut events = rotation.map_or(Ok(Vec::new()), |rotation| rotate(job, rotation, stamp.now))?;
                    events.extend(self::report(state, job, report, stamp)?);
                    Ok(events)
                }
            }
        }
        Command::Cancel { job } => cancel(state, known_job(state, job)?, stamp),
        Command::Expire { job } => {
            let job = known_job(state, job)?;
            let due = !job.status.is_terminal() && job.times.expires_at <= stamp.now;
            if due { self::report(state, job, &Report::of(Status::Expired), stamp) } else { Ok(Vec::new()) }
        }
        Command::StartAttempt { delivery } => start_attempt(known_delivery(state, *delivery)?),
        Command::RecordOutcome { delivery, attempt, outcome } => {
            record_outcome(state, known_delivery(state, *delivery)?, *attempt, outcome, stamp.now)
        }
        Command::RecordInterruption { delivery, crashed } => {
            record_interruption(state, known_delivery(state, *delivery)?, *crashed, stamp.now)
        }
        Command::Prune { job, before } => {
            let is_over = known_job(state, job)?.is_over_since(*before);
            Ok(if is_over { vec![Event::JobPruned] } else { Vec::new() })
        }
        Command::ErasePayloads { job } => erase_payloads(state, known_job(state, job)?),
        Command::RetryDeadLetter { id, force } => retry_dead_letter(state, known_dead_letter(state, *id)?, *force),
        Command::RetryDeadLetters { ids, force } => {
            let letters = distinct(ids).filter_map(|id| state.dead_letter(id));
            Ok(letters.flat_map(|letter| retry_dead_letter(state, letter, *force).unwrap_or_default()).collect())
        }
        Command::DeleteDeadLetter { id } => Ok(vec![deletion(known_dead_letter(state, *id)?)]),
        Command::DeleteDeadLetters { ids } => {
            Ok(distinct(ids).filter_map(|id| state.dead_letter(id)).map(deletion).collect())
        }
        Command::Resend { delivery, force } => {
            redeliver(state, known_delivery(state, *delivery)?, *force, Rejection::AlreadyDelivered)
        }
    }
}

/// Each once: what one of them comes to is decided on the state before all of them.
fn distinct(ids: &[DeadLetterId]) -> impl Iterator<Item = DeadLetterId> {
    ids.iter().copied().collect::<BTreeSet<_>>().into_iter()
}

fn known_job<'a>(state: &'a State, id: &JobId) -> Result<&'a Job, Rejection> {
    state.job(id).ok_or_else(|| Rejection::not_found("batch", id))
}

fn known_delivery(state: &State, id: DeliveryId) -> Result<&Delivery, Rejection> {
    state.delivery(id).ok_or_else(|| Rejection::not_found("delivery", id))
}

fn known_dead_letter(state: &State, id: DeadLetterId) -> Result<&DeadLetter, Rejection> {
    state.dead_letter(id).ok_or_else(|| Rejection::not_found("dead letter", id))
}

fn register(state: &State, id: &JobId, spec: &JobSpec, stamp: Stamp) -> Decision {
    if let Some(job) = state.job(id) {
        let message = format!("A batch with id '{id}' exists already, and was registered with another body.");
        let taken = Rejection::Conflict { code: "id_taken", message };
        return if job.spec == *spec { Ok(Vec::new()) } else { Err(taken) };
    }
    spec.check(state.policy.allow_http)?;
    let expires_at = stamp.now.plus(spec.window()?);
    let bare = JobSpec { options: WebhookOptions::default(), ..spec.clone() };
    let mut events = vec![Event::JobRegistered { spec: bare, expires_at }];
    if !spec.options.is_empty() {
        events.push(Event::WebhookConfigured { options: spec.options.clone() });
    }
    let job = Job::registered(id.clone(), spec.clone(), expires_at, stamp.now, super::id::Seq::ZERO);
    events.extend(report(state, &job, &spec.report, stamp)?);
    Ok(events)
}

/// Another secret for the job's webhook, also when the job is done: its dead letters may be tried again.
fn rotate(job: &Job, Rotation { secret, overlap }: Rotation, now: Timestamp) -> Decision {
    if job.spec.webhook.is_none() {
        let message = "The batch has no webhook: there is nothing that a secret could sign.".into();
        return Err(Rejection::Conflict { code: "no_webhook", message });
    }
    if overlap > Rotation::LONGEST_OVERLAP {
        let message = format!("webhook.overlap is in seconds, 0 to {} (7 days)", Rotation::LONGEST_OVERLAP);
        return Err(Invalid::new("webhook.overlap", "invalid_overlap", message).into());
    }
    let missing = || Invalid::new("webhook.secret", "missing_field", "webhook.secret is required");
    let secret = secret.ok_or_else(missing)?;
    if job.secret() == Some(secret) {
        return Ok(Vec::new());
    }
    let former_until = now.plus(Duration::from_secs(u64::from(overlap)));
    Ok(vec![Event::SecretRotated { secret, former_until }])
}

fn report(state: &State, job: &Job, report: &Report, stamp: Stamp) -> Decision {
    let news = job.news(report);
    if news.is_empty() {
        return Ok(Vec::new());
    }
    if job.status.is_terminal() {
        let message = format!("The batch is {}: a terminal status and its report never change.", job.status);
        return Err(Rejection::Conflict { code: "illegal_transition", message });
    }
    let (event, kind) = match news.status {
        Some(to) if !job.status.may_become(to) => {
            let message = format!("A batch that is {} can't become {to}.", job.status);
            return Err(Rejection::Conflict { code: "illegal_transition", message });
        }
        Some(to) => (Event::JobTransitioned { report: news }, to.event_kind()),
        None => (Event::ProgressReported { report: news }, Some(EventKind::Progress)),
    };
    let mut events = vec![event];
    let webhook = job.spec.webhook.as_ref();
    if let Some((webhook, kind)) = webhook.zip(kind).filter(|(webhook, kind)| webhook.wants(*kind)) {
        events.extend(unsent_progress(state, job).map(|delivery| Event::DeliverySuperseded { delivery }));
        events.push(scheduled(state, job, webhook, kind, stamp.delivery));
    }
    Ok(events)
}

/// The job's progress delivery that waits for an attempt, which newer news makes pointless. A retried dead letter never
/// is: it was asked for.
fn unsent_progress(state: &State, job: &Job) -> Option<DeliveryId> {
    let delivery = state.delivery(job.progress?)?;
    let waits = matches!(delivery.state, DeliveryState::Pending { .. }) && delivery.may_be_superseded();
    waits.then_some(delivery.id)
}

fn scheduled(state: &State, job: &Job, webhook: &Webhook, kind: EventKind, delivery: DeliveryId) -> Event {
    let by_schedule = job.spec.options.attempts();
    let default_timeout = u32::try_from(state.policy.timeout.as_secs()).unwrap_or(u32::MAX);
    Event::DeliveryScheduled {
        delivery,
        destination: Destination::Webhook(job.id.clone()),
        kind,
        max_attempts: webhook.max_retries.or(by_schedule).unwrap_or(state.policy.max_attempts).max(1),
        timeout: webhook.timeout.unwrap_or(default_timeout),
    }
}

fn cancel(state: &State, job: &Job, stamp: Stamp) -> Decision {
    match job.status {
        Status::Cancelling | Status::Cancelled => Ok(Vec::new()),
        _ => report(state, job, &Report::of(Status::Cancelling), stamp),
    }
}

fn start_attempt(delivery: &Delivery) -> Decision {
    match delivery.state {
        DeliveryState::Pending { .. } => {
            Ok(vec![Event::AttemptStarted { delivery: delivery.id, attempt: delivery.next_attempt() }])
        }
        _ => Err(attempt_in_flight()),
    }
}

fn attempt_in_flight() -> Rejection {
    let message = "An attempt of this delivery is under way. Wait for its end, then ask again.".to_owned();
    Rejection::Conflict { code: "attempt_in_flight", message }
}

fn record_outcome(state: &State, delivery: &Delivery, attempt: u32, outcome: &Outcome, now: Timestamp) -> Decision {
    if delivery.state != DeliveryState::InFlight || delivery.attempt() != attempt {
        return Err(Rejection::NotInFlight);
    }
    let answered = outcome.result.as_ref().ok();
    let end = AttemptEnd {
        duration_ms: outcome.duration_ms,
        status_code: outcome.status_code(),
        error: outcome.error(),
        excerpt: answered.map(|response| excerpt(response.excerpt.as_bytes())).filter(|text| !text.is_empty()),
    };
    Ok(match judge(outcome, now) {
        Verdict::Delivered => vec![Event::AttemptSucceeded { delivery: delivery.id, attempt, end }],
        Verdict::Retry { asked } => failed(state, delivery, end, Retry::Allowed { asked }, now),
        Verdict::Final => failed(state, delivery, end, Retry::Pointless, now),
    })
}

#[derive(Clone, Copy)]
enum Retry {
    Allowed { asked: Option<Duration> },
    Pointless,
}

/// A failed attempt: another one, or the end of the delivery.
fn failed(state: &State, delivery: &Delivery, end: AttemptEnd, retry: Retry, now: Timestamp) -> Vec<Event> {
    let (id, attempt) = (delivery.id, delivery.attempt());
    if delivery.was_never_given_up() {
        return vec![Event::AttemptFailed { delivery: id, attempt, end, retry_at: None }];
    }
    let outdated = is_outdated(state, delivery);
    let wait = match retry {
        Retry::Allowed { asked } if attempt < delivery.max_attempts && !outdated => {
            Some(asked.unwrap_or_else(|| wait_after(state, delivery, attempt)))
        }
        Retry::Allowed { .. } | Retry::Pointless => None,
    };
    let retry_at = wait.map(|wait| now.plus(wait));
    let mut events = vec![Event::AttemptFailed { delivery: id, attempt, end, retry_at }];
    if outdated {
        events.push(Event::DeliverySuperseded { delivery: id });
    } else if retry_at.is_none() {
        let dead_letter = delivery.dead_letter.unwrap_or(DeadLetterId(state.totals.last_dead_letter + 1));
        events.push(Event::DeliveryExhausted { delivery: id, dead_letter });
    }
    events
}

/// The wait by the webhook's own schedule, by the global one, or by the backoff: whichever there is first.
fn wait_after(state: &State, delivery: &Delivery, attempt: u32) -> Duration {
    let own = state.job(&delivery.job).and_then(|job| job.spec.options.retry_schedule.as_deref()).unwrap_or_default();
    let own: Vec<_> = own.iter().map(|seconds| Duration::from_secs(u64::from(*seconds))).collect();
    let policy = &state.policy;
    scheduled_wait(&own, delivery.id, attempt)
        .or_else(|| scheduled_wait(&policy.retry_schedule, delivery.id, attempt))
        .unwrap_or_else(|| policy.backoff.wait(delivery.id, attempt))
}

/// Whether newer news of the job has made this delivery pointless while its attempt was under way. A retried dead
/// letter never is: it was asked for.
fn is_outdated(state: &State, delivery: &Delivery) -> bool {
    delivery.kind == EventKind::Progress
        && delivery.may_be_superseded()
        && state.job(&delivery.job).is_some_and(|job| job.progress != Some(delivery.id))
}

fn record_interruption(state: &State, delivery: &Delivery, crashed: bool, now: Timestamp) -> Decision {
    let (DeliveryState::InFlight, Some(attempt)) = (delivery.state, delivery.attempts.last()) else {
        return Err(Rejection::NotInFlight);
    };
    if !crashed || attempt.interruptions + 1 < MAX_INTERRUPTIONS {
        let mut events = vec![Event::AttemptInterrupted { delivery: delivery.id, attempt: attempt.number, crashed }];
        events.extend(is_outdated(state, delivery).then_some(Event::DeliverySuperseded { delivery: delivery.id }));
        return Ok(events);
    }
    let error =
        format!("interrupted {MAX_INTERRUPTIONS} times by a crash of the process; what became of it is unknown");
    let end = AttemptEnd { error: Some(error), ..AttemptEnd::default() };
    Ok(failed(state, delivery, end, Retry::Allowed { asked: None }, now))
}

/// Whether a dead letter may be sent again is a question to its history.
fn retry_dead_letter(state: &State, letter: &DeadLetter, force: bool) -> Decision {
    redeliver(state, known_delivery(state, letter.delivery)?, force, Rejection::AlreadyRetried)
}

/// One more attempt by hand. What the receiver has is `refused` without force.
fn redeliver(state: &State, delivery: &Delivery, force: bool, refused: Rejection) -> Decision {
    if delivery.is_active() {
        return Err(attempt_in_flight());
    }
    if known_job(state, &delivery.job)?.has_erased(delivery) {
        let message = "Its payload was erased: there is nothing left that could be sent.".to_owned();
        return Err(Rejection::Conflict { code: "payload_erased", message });
    }
    let forced = delivery.delivered_at.is_some();
    if forced && !force {
        return Err(refused);
    }
    Ok(vec![Event::RedeliveryRequested { delivery: delivery.id, forced }])
}

/// What an attempt may still send is not taken away.
fn erase_payloads(state: &State, job: &Job) -> Decision {
    if job.active > 0 {
        let message = "A delivery of the batch is pending or in flight. Wait for its end, then ask again.".to_owned();
        return Err(Rejection::Conflict { code: "delivery_under_way", message });
    }
    let erased = state.deliveries_of(&job.id).filter(|delivery| !job.has_erased(delivery)).count();
    let deliveries = u32::try_from(erased).unwrap_or(u32::MAX);
    Ok(if erased == 0 { Vec::new() } else { vec![Event::PayloadsErased { deliveries }] })
}

const fn deletion(letter: &DeadLetter) -> Event {
    Event::DeadLetterDeleted { delivery: letter.delivery, dead_letter: letter.id }
}

#[cfg(test)]
mod tests;
