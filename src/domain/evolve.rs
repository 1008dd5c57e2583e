//! What an event changes. The only code that moves a state, and the same for a live event and a replayed one.

use std::fmt;

use super::delivery::{ATTEMPTS_KEPT, Attempt, AttemptEnd, DeadLetter, Delivery, DeliveryState};
use super::event::{Envelope, Event};
use super::id::{DeadLetterId, DeliveryId, JobId, SecretId, Seq};
use super::job::{Job, JobSpec, LatestDelivery, Report, Signing, WebhookStatus};
use super::options::WebhookOptions;
use super::state::{Entity, State};
use super::time::Timestamp;
use super::webhook::EventKind;

/// An event that can't have happened to the state before it: the log is damaged, or was written by a program with a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The event's position.
    pub seq: Seq,
    /// The event's name.
    pub event: &'static str,
    /// The job that it tells of.
    pub job: JobId,
    /// What does not fit.
    pub why: &'static str,
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, event, job, why } = self;
        write!(f, "position {seq}: {event} of batch '{job}' does not follow from what was recorded before it: {why}")
    }
}

impl std::error::Error for IllegalTransition {}

type Evolution = Result<(), &'static str>;

/// Moves `state` by one event. Of a job that is pruned, all that it has is to be at hand.
///
/// # Errors
/// When the event can't follow from the state; the state is to be thrown away then.
pub fn evolve(state: &mut State, envelope: &Envelope) -> Result<(), IllegalTransition> {
    let Envelope { seq, at, job, prev, event } = envelope;
    let illegal = |why| IllegalTransition { seq: *seq, event: event.name(), job: job.clone(), why };
    if !state.jobs.contains_key(job) && state.remains.take(envelope) {
        if let Event::DeliveryExhausted { dead_letter, .. } = event {
            number_taken(state, *dead_letter);
        }
        return Ok(());
    }
    let delivery = event.delivery();
    let was_active = is_active(state, delivery);
    state.touch(Entity::Job(job.clone()));
    if let Some(delivery) = delivery {
        state.touch(Entity::Delivery(delivery));
    }
    match event {
        Event::JobRegistered { spec, expires_at } => register(state, envelope, spec, *expires_at).map_err(illegal)?,
        _ => {
            let job = state.jobs.get_mut(job).ok_or_else(|| illegal("the batch was never registered"))?;
            if job.head != *prev {
                return Err(illegal("it names another event as the batch's previous one"));
            }
            (job.head, job.touched) = (*seq, *at);
        }
    }
    match event {
        Event::JobRegistered { .. } => Ok(()),
        Event::JobTransitioned { report } | Event::ProgressReported { report } => take_report(state, job, report, *at),
        Event::DeliveryScheduled { .. } => schedule(state, envelope),
        Event::AttemptStarted { delivery, attempt } => start(state, *delivery, *attempt, *at),
        Event::AttemptSucceeded { delivery, attempt, end } => succeed(state, *delivery, *attempt, end, *at),
        Event::AttemptFailed { delivery, attempt, end, retry_at } => {
            fail(state, *delivery, *attempt, end, retry_at.unwrap_or(*at))
        }
        Event::AttemptInterrupted { delivery, attempt, crashed } => {
            interrupt(state, *delivery, *attempt, *crashed, *at)
        }
        Event::DeliveryExhausted { delivery, dead_letter } => exhaust(state, *delivery, *dead_letter, *at),
        Event::DeliverySuperseded { delivery } => supersede(state, *delivery),
        Event::RedeliveryRequested { delivery, forced } => request(state, *delivery, *forced, *at),
        Event::DeadLetterDeleted { dead_letter, .. } => delete(state, *dead_letter),
        Event::WebhookConfigured { options } => configure(state, job, options, *prev),
        Event::SecretRotated { secret, former_until } => rotate(state, job, *secret, *former_until),
        Event::JobPruned => prune(state, job),
        Event::PayloadsErased { .. } => erase(state, job, *seq),
    }
    .map_err(illegal)?;
    if let Some(id) = delivery {
        summarize(state, job, id, was_active);
    }
    Ok(())
}

fn is_active(state: &State, delivery: Option<DeliveryId>) -> bool {
    delivery.and_then(|id| state.delivery(id)).is_some_and(Delivery::is_active)
}

fn register(state: &mut State, envelope: &Envelope, spec: &JobSpec, expires_at: Timestamp) -> Evolution {
    let Envelope { seq, at, job: id, prev, .. } = envelope;
    if *prev != Seq::ZERO || state.jobs.contains_key(id) {
        return Err("the batch was registered before");
    }
    let job = Job::registered(id.clone(), spec.clone(), expires_at, *at, *seq);
    state.touch(Entity::Totals);
    state.totals.count(None, Some(job.status));
    state.jobs.insert(id.clone(), job);
    Ok(())
}

/// The second half of a registration, so it comes right after the first.
fn configure(state: &mut State, id: &JobId, options: &WebhookOptions, prev: Seq) -> Evolution {
    let job = state.jobs.get_mut(id).ok_or("the batch was never registered")?;
    if job.spec.webhook.is_none() || job.registered != prev {
        return Err("it does not follow the registration of a webhook");
    }
    job.spec.options = options.clone();
    Ok(())
}

/// Of what signed before, only the newest goes on signing.
fn rotate(state: &mut State, id: &JobId, secret: SecretId, former_until: Timestamp) -> Evolution {
    let job = state.jobs.get_mut(id).ok_or("the batch was never registered")?;
    if job.spec.webhook.is_none() || job.secret() == Some(secret) {
        return Err("the batch has no webhook, or that secret already");
    }
    job.signing = Some(Signing { secret, former: job.secret(), former_until });
    job.version += 1;
    Ok(())
}

fn take_report(state: &mut State, id: &JobId, report: &Report, at: Timestamp) -> Evolution {
    let job = state.jobs.get_mut(id).ok_or("the batch was never registered")?;
    if job.status.is_terminal() || report.status.is_some_and(|to| !job.status.may_become(to)) {
        return Err("its status does not allow it");
    }
    let before = job.status;
    job.apply(report, at);
    job.version += 1;
    let after = job.status;
    if before != after {
        state.touch(Entity::Totals);
        state.totals.count(Some(before), Some(after));
    }
    Ok(())
}

fn schedule(state: &mut State, Envelope { seq, at, job: id, event, .. }: &Envelope) -> Evolution {
    let Event::DeliveryScheduled { delivery, destination, kind, max_attempts, timeout } = event else {
        return Err("it schedules nothing");
    };
    let job = state.jobs.get_mut(id).ok_or("the batch was never registered")?;
    let webhook = job.spec.webhook.as_ref().ok_or("the batch has no webhook")?;
    let scheduled = Delivery {
        id: *delivery,
        job: id.clone(),
        destination: destination.clone(),
        kind: *kind,
        url: webhook.url.clone(),
        created_at: *at,
        scheduled: *seq,
        max_attempts: *max_attempts,
        timeout: *timeout,
        rate_limit: job.spec.options.rate_limit,
        state: DeliveryState::Pending { due: *at },
        attempts: Vec::new(),
        delivered_at: None,
        dead_letter: None,
        previous: job.latest.as_ref().map(|latest| latest.id),
    };
    job.progress = (*kind == EventKind::Progress).then_some(*delivery);
    job.latest = Some(latest(&scheduled));
    match state.deliveries.insert(*delivery, scheduled) {
        None => Ok(()),
        Some(_) => Err("a delivery with that id exists already"),
    }
}

fn delivery(state: &mut State, id: DeliveryId) -> Result<&mut Delivery, &'static str> {
    state.deliveries.get_mut(&id).ok_or("the delivery was never scheduled")
}

fn start(state: &mut State, id: DeliveryId, number: u32, at: Timestamp) -> Evolution {
    let delivery = delivery(state, id)?;
    if !matches!(delivery.state, DeliveryState::Pending { .. }) || delivery.next_attempt() != number {
        return Err("no such attempt is to be made");
    }
    if number > delivery.max_attempts {
        return Err("every attempt has been made");
    }
    delivery.state = DeliveryState::InFlight;
    match delivery.attempts.last_mut().filter(|attempt| attempt.number == number) {
        Some(again) => again.started_at = at,
        None => {
            if delivery.attempts.len() == ATTEMPTS_KEPT {
                delivery.attempts.remove(0);
            }
            delivery.attempts.push(Attempt { number, started_at: at, interruptions: 0, end: None });
        }
    }
    Ok(())
}

fn in_flight(state: &mut State, id: DeliveryId, number: u32) -> Result<&mut Delivery, &'static str> {
    let delivery = delivery(state, id)?;
    if delivery.state == DeliveryState::InFlight && delivery.attempt() == number {
        Ok(delivery)
    } else {
        Err("no such attempt is in flight")
    }
}

fn end_attempt<'a>(
    state: &'a mut State,
    id: DeliveryId,
    number: u32,
    end: &AttemptEnd,
    to: DeliveryState,
) -> Result<&'a mut Delivery, &'static str> {
    let delivery = in_flight(state, id, number)?;
    delivery.state = to;
    if let Some(attempt) = delivery.attempts.last_mut() {
        attempt.end = Some(end.clone());
    }
    Ok(delivery)
}

/// A redelivery that fails takes nothing back: what the receiver has, it has.
fn fail(state: &mut State, id: DeliveryId, number: u32, end: &AttemptEnd, due: Timestamp) -> Evolution {
    let delivery = end_attempt(state, id, number, end, DeliveryState::Pending { due })?;
    if delivery.was_never_given_up() {
        delivery.state = DeliveryState::Delivered;
    }
    Ok(())
}

fn succeed(state: &mut State, id: DeliveryId, number: u32, end: &AttemptEnd, at: Timestamp) -> Evolution {
    let delivery = end_attempt(state, id, number, end, DeliveryState::Delivered)?;
    delivery.delivered_at.get_or_insert(at);
    let letter = delivery.dead_letter;
    if let Some(letter) = letter.and_then(|letter| retried(state, letter, at)) {
        letter.retry_success = Some(true);
    }
    Ok(())
}

fn interrupt(state: &mut State, id: DeliveryId, number: u32, crashed: bool, at: Timestamp) -> Evolution {
    let delivery = in_flight(state, id, number)?;
    delivery.state = DeliveryState::Pending { due: at };
    if let Some(attempt) = delivery.attempts.last_mut() {
        attempt.interruptions += u32::from(crashed);
    }
    Ok(())
}

/// The first time the delivery becomes a dead letter; after that its dead letter notes a retry that failed.
fn exhaust(state: &mut State, id: DeliveryId, letter: DeadLetterId, at: Timestamp) -> Evolution {
    let delivery = delivery(state, id)?;
    let (DeliveryState::Pending { .. }, Some(attempt)) = (delivery.state, delivery.attempts.last()) else {
        return Err("no attempt of it has just failed");
    };
    let error = attempt.end.as_ref().and_then(|end| end.error.clone()).ok_or("no attempt of it has failed")?;
    let (attempts, last_attempt_at) = (attempt.number, attempt.started_at);
    delivery.state = if delivery.delivered_at.is_some() { DeliveryState::Delivered } else { DeliveryState::Dead };
    match delivery.dead_letter {
        Some(known) if known != letter => return Err("it is another dead letter already"),
        Some(_) => {
            if let Some(known) = retried(state, letter, at) {
                (known.error, known.attempts, known.last_attempt_at) = (error, attempts, last_attempt_at);
                known.retry_success = Some(known.retry_success.unwrap_or(false));
            }
        }
        None => {
            delivery.dead_letter = Some(letter);
            let letter = DeadLetter {
                id: letter,
                delivery: id,
                job: delivery.job.clone(),
                url: delivery.url.clone(),
                kind: delivery.kind,
                error,
                attempts,
                last_attempt_at,
                created_at: at,
                retried_at: None,
                retry_success: None,
            };
            state.touch(Entity::DeadLetter(letter.id));
            number_taken(state, letter.id);
            state.totals.dead_letters += 1;
            state.dead_letters.insert(letter.id, letter);
        }
    }
    Ok(())
}

/// Whatever becomes of a dead letter, no other one gets its number.
fn number_taken(state: &mut State, letter: DeadLetterId) {
    state.touch(Entity::Totals);
    state.totals.last_dead_letter = state.totals.last_dead_letter.max(letter.0);
}

/// The dead letter, its newest retry noted; `None` when it was deleted meanwhile.
fn retried(state: &mut State, id: DeadLetterId, at: Timestamp) -> Option<&mut DeadLetter> {
    state.dead_letters.contains_key(&id).then(|| state.touch(Entity::DeadLetter(id)))?;
    let letter = state.dead_letters.get_mut(&id)?;
    letter.retried_at = Some(at);
    Some(letter)
}

fn supersede(state: &mut State, id: DeliveryId) -> Evolution {
    let delivery = delivery(state, id)?;
    if delivery.kind != EventKind::Progress || !matches!(delivery.state, DeliveryState::Pending { .. }) {
        return Err("only progress that has not been delivered is superseded");
    }
    delivery.state = DeliveryState::Superseded;
    Ok(())
}

fn request(state: &mut State, id: DeliveryId, forced: bool, at: Timestamp) -> Evolution {
    let delivery = delivery(state, id)?;
    if delivery.is_active() || (delivery.delivered_at.is_some() && !forced) {
        return Err("it was delivered, or is about to be");
    }
    delivery.state = DeliveryState::Pending { due: at };
    delivery.max_attempts = delivery.attempt() + 1;
    Ok(())
}

fn delete(state: &mut State, id: DeadLetterId) -> Evolution {
    state.touch(Entity::DeadLetter(id));
    state.touch(Entity::Totals);
    state.dead_letters.remove(&id).ok_or("there is no such dead letter")?;
    state.totals.dead_letters = state.totals.dead_letters.saturating_sub(1);
    Ok(())
}

/// Everything that the job has goes with it.
fn prune(state: &mut State, id: &JobId) -> Evolution {
    let job = state.job(id).ok_or("the batch was never registered")?;
    if !job.status.is_terminal() || job.active > 0 {
        return Err("the batch, or a delivery of it, is under way");
    }
    let status = job.status;
    let deliveries: Vec<_> = state.deliveries_of(id).map(|delivery| (delivery.id, delivery.dead_letter)).collect();
    for (delivery, letter) in deliveries {
        state.touch(Entity::Delivery(delivery));
        state.deliveries.remove(&delivery);
        if let Some(letter) = letter.filter(|letter| state.dead_letters.contains_key(letter)) {
            delete(state, letter)?;
        }
    }
    state.touch(Entity::Totals);
    state.totals.count(Some(status), None);
    state.jobs.remove(id);
    Ok(())
}

fn erase(state: &mut State, id: &JobId, at: Seq) -> Evolution {
    let job = state.jobs.get_mut(id).ok_or("the batch was never registered")?;
    if job.active > 0 {
        return Err("a delivery of the batch is under way");
    }
    job.erased = at;
    Ok(())
}

/// Keeps the job's view of its deliveries up to date.
fn summarize(state: &mut State, job: &JobId, delivery: DeliveryId, was_active: bool) {
    let (Some(job), Some(delivery)) = (state.jobs.get_mut(job), state.deliveries.get(&delivery)) else { return };
    match (was_active, delivery.is_active()) {
        (false, true) => job.active += 1,
        (true, false) => job.active = job.active.saturating_sub(1),
        _ => {}
    }
    if job.latest.as_ref().is_some_and(|latest| latest.id == delivery.id) {
        job.latest = Some(latest(delivery));
    }
}

fn latest(delivery: &Delivery) -> LatestDelivery {
    let status = match delivery.state {
        DeliveryState::Pending { .. } | DeliveryState::InFlight | DeliveryState::Superseded => WebhookStatus::Pending,
        DeliveryState::Delivered => WebhookStatus::Sent,
        DeliveryState::Dead => WebhookStatus::Failed,
    };
    let error =
        delivery.attempts.iter().rev().find_map(|attempt| attempt.end.as_ref()).and_then(|end| end.error.clone());
    LatestDelivery {
        id: delivery.id,
        status,
        attempts: delivery.attempt(),
        error: error.filter(|_| status != WebhookStatus::Sent),
        last_attempt_at: delivery.attempts.last().map(|attempt| attempt.started_at),
    }
}
