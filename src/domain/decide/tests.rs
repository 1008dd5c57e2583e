//! Given events, when a command, then events or a rejection. A history is made by commands too: what they cause is what
//! can have happened.

#![expect(clippy::needless_pass_by_value, reason = "a story reads better without references")]

use std::collections::HashMap;

use super::super::event::Envelope;
use super::super::evolve;
use super::super::id::{SecretId, Seq};
use super::super::job::Signing;
use super::super::outcome::{Failure, FailureKind, Response, RetryAfter};
use super::super::rejection::Invalid;
use super::super::state::Policy;
use super::*;

mod attempts;
mod dead_letters;
mod forgetting;
mod jobs;
mod progress;
mod random;
mod webhook_options;

/// A history, and what comes next. Time begins at 1,000 seconds, so that a zero time shows.
#[derive(Clone)]
struct Given {
    state: State,
    now: Timestamp,
    log: Vec<Envelope>,
    /// How many deliveries were scheduled: the n-th has id n.
    deliveries: u128,
}

const START: Timestamp = Timestamp::from_seconds(1_000);

fn given() -> Given {
    given_policy(Policy::default())
}

fn given_policy(policy: Policy) -> Given {
    Given { state: State::new(policy), now: START, log: Vec::new(), deliveries: 0 }
}

impl Given {
    /// This much later.
    fn later(mut self, duration: Duration) -> Self {
        self.now = self.now.plus(duration);
        self
    }

    /// A command that is part of the history.
    fn after(mut self, command: Command) -> Self {
        if let Err(rejection) = self.take(&command) {
            panic!("the history has a command that was refused: {command:?}: {rejection}");
        }
        self
    }

    /// The command in question.
    fn when(mut self, command: Command) -> Then {
        let before = self.state.clone();
        let result = self.take(&command);
        if result.is_err() {
            assert_eq!(self.state, before, "a refused command changes nothing");
        }
        Then { given: self, result }
    }

    /// Decides and evolves, as the engine does.
    fn take(&mut self, command: &Command) -> Decision {
        let stamp = Stamp { now: self.now, delivery: DeliveryId(self.deliveries + 1) };
        let events = decide(&self.state, command, stamp)?;
        for event in &events {
            let job = match command {
                Command::Register { id: job, .. }
                | Command::Report { job, .. }
                | Command::Cancel { job }
                | Command::Expire { job }
                | Command::Prune { job, .. }
                | Command::ErasePayloads { job } => job.clone(),
                _ => self.delivery(event.delivery().unwrap()).job.clone(),
            };
            let prev = self.state.job(&job).map_or(Seq::ZERO, |job| job.head);
            let seq = Seq(self.log.len() as u64 + 1);
            let envelope = Envelope { seq, at: self.now, job, prev, event: event.clone() };
            evolve(&mut self.state, &envelope).unwrap();
            self.deliveries += u128::from(matches!(event, Event::DeliveryScheduled { .. }));
            self.log.push(envelope);
        }
        Ok(events)
    }

    fn job(&self) -> &Job {
        self.state.job(&j()).unwrap()
    }

    fn delivery(&self, id: DeliveryId) -> &Delivery {
        self.state.delivery(id).unwrap()
    }

    fn letter(&self, id: u64) -> &DeadLetter {
        self.state.dead_letter(DeadLetterId(id)).unwrap()
    }
}

#[must_use]
struct Then {
    given: Given,
    result: Decision,
}

impl Then {
    #[track_caller]
    fn then(self, events: impl Into<Vec<Event>>) -> Given {
        assert_eq!(self.result, Ok(events.into()));
        self.given
    }

    #[track_caller]
    fn nothing(self) -> Given {
        self.then([])
    }

    #[track_caller]
    fn refused(self, rejection: &Rejection) -> Given {
        assert_eq!(self.result.as_ref(), Err(rejection));
        self.given
    }

    #[track_caller]
    fn conflict(self, code: &str) -> Given {
        match &self.result {
            Err(Rejection::Conflict { code: found, message }) if *found == code => assert!(!message.is_empty()),
            other => panic!("no conflict '{code}': {other:?}"),
        }
        self.given
    }

    #[track_caller]
    fn invalid(self, param: &str, code: &str) -> Given {
        match &self.result {
            Err(Rejection::Invalid(invalid)) => assert_eq!((invalid.param, invalid.code), (param, code)),
            other => panic!("not invalid: {other:?}"),
        }
        self.given
    }
}

/// The one job of most stories.
fn j() -> JobId {
    JobId::new("j").unwrap()
}

const fn d(id: u128) -> DeliveryId {
    DeliveryId(id)
}

fn hook() -> Webhook {
    Webhook::to("https://r.example/hook")
}

fn telling(events: &[EventKind]) -> Webhook {
    Webhook { events: Some(events.to_vec()), ..hook() }
}

fn spec(webhook: Webhook) -> JobSpec {
    JobSpec { webhook: Some(webhook), ..JobSpec::default() }
}

fn register(spec: JobSpec) -> Command {
    Command::Register { id: j(), spec }
}

fn report(report: Report) -> Command {
    Command::Report { job: j(), if_match: None, report, rotation: None }
}

fn becomes(status: Status) -> Command {
    report(Report::of(status))
}

/// So many requests done: progress.
fn counts(completed: u64) -> Command {
    report(Report { completed: Some(completed), ..Report::default() })
}

fn cancel() -> Command {
    Command::Cancel { job: j() }
}

fn expire() -> Command {
    Command::Expire { job: j() }
}

fn start(delivery: DeliveryId) -> Command {
    Command::StartAttempt { delivery }
}

fn ended(delivery: DeliveryId, attempt: u32, outcome: Outcome) -> Command {
    Command::RecordOutcome { delivery, attempt, outcome }
}

fn interrupted(delivery: DeliveryId) -> Command {
    Command::RecordInterruption { delivery, crashed: true }
}

fn retry(id: u64) -> Command {
    Command::RetryDeadLetter { id: DeadLetterId(id), force: false }
}

fn force(id: u64) -> Command {
    Command::RetryDeadLetter { id: DeadLetterId(id), force: true }
}

fn delete(id: u64) -> Command {
    Command::DeleteDeadLetter { id: DeadLetterId(id) }
}

fn answer(status: u16) -> Outcome {
    answer_after(status, None)
}

fn answer_after(status: u16, retry_after: Option<RetryAfter>) -> Outcome {
    Outcome { duration_ms: 5, result: Ok(Response { status, excerpt: String::new(), retry_after }) }
}

fn no_answer(kind: FailureKind) -> Outcome {
    Outcome { duration_ms: 5, result: Err(Failure { kind, detail: "so it was".into() }) }
}

/// What is recorded of [`answer`].
fn end(status: u16) -> AttemptEnd {
    let error = (status >= 300).then(|| format!("HTTP {status}"));
    AttemptEnd { duration_ms: 5, status_code: Some(status), error, excerpt: None }
}

fn transitioned(status: Status) -> Event {
    Event::JobTransitioned { report: Report::of(status) }
}

/// A delivery with the global defaults.
fn scheduled(delivery: DeliveryId, kind: EventKind) -> Event {
    let destination = Destination::Webhook(j());
    Event::DeliveryScheduled { delivery, destination, kind, max_attempts: 3, timeout: 30 }
}

/// A job that has completed, and whose webhook is to be told with delivery 1.
fn given_a_delivery(max_attempts: u32) -> Given {
    let webhook = Webhook { max_retries: Some(max_attempts), ..hook() };
    given().after(register(spec(webhook))).after(becomes(Status::Completed))
}

/// The same, and its last attempt has failed: dead letter 1.
fn given_a_dead_letter() -> Given {
    given_a_delivery(1).after(start(d(1))).after(ended(d(1), 1, answer(500)))
}
