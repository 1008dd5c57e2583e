//! Whatever is asked in whatever order: what is decided can happen, and the promises of the contract hold.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::views;

/// Something that may be asked. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    Register { job: u8, spec: u8 },
    Report { job: u8, status: Option<usize>, completed: Option<u64>, if_match: Option<u64> },
    Rotate { job: u8, secret: u128, overlap: u32, status: Option<usize> },
    Cancel { job: u8 },
    Expire { job: u8 },
    Start { delivery: usize },
    End { delivery: usize, attempt: Option<u32>, outcome: usize },
    Interrupt { delivery: usize, crashed: bool },
    Retry { letter: u64, force: bool },
    Delete { letter: u64 },
    RetryMany { from: u64, force: bool },
    DeleteMany { from: u64 },
    Resend { delivery: usize, force: bool },
    Prune { job: u8, seconds: u64 },
    Erase { job: u8 },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let job = || 0..3_u8;
    prop_oneof![
        2 => (job(), 0..6_u8).prop_map(|(job, spec)| Step::Register { job, spec }),
        4 => (job(), proptest::option::of(0..Status::ALL.len()), proptest::option::of(0..4_u64), proptest::option::weighted(0.1, 0..4_u64))
            .prop_map(|(job, status, completed, if_match)| Step::Report { job, status, completed, if_match }),
        1 => (job(), 1..4_u128, 0..20_u32, proptest::option::weighted(0.2, 0..Status::ALL.len()))
            .prop_map(|(job, secret, overlap, status)| Step::Rotate { job, secret, overlap, status }),
        1 => job().prop_map(|job| Step::Cancel { job }),
        1 => job().prop_map(|job| Step::Expire { job }),
        8 => (0..9_usize).prop_map(|delivery| Step::Start { delivery }),
        8 => (0..9_usize, proptest::option::weighted(0.1, 0..4_u32), 0..6_usize)
            .prop_map(|(delivery, attempt, outcome)| Step::End { delivery, attempt, outcome }),
        2 => (0..9_usize, any::<bool>()).prop_map(|(delivery, crashed)| Step::Interrupt { delivery, crashed }),
        4 => (1..5_u64, any::<bool>()).prop_map(|(letter, force)| Step::Retry { letter, force }),
        1 => (1..5_u64).prop_map(|letter| Step::Delete { letter }),
        1 => (1..5_u64, any::<bool>()).prop_map(|(from, force)| Step::RetryMany { from, force }),
        1 => (3..6_u64).prop_map(|from| Step::DeleteMany { from }),
        4 => (0..9_usize, any::<bool>()).prop_map(|(delivery, force)| Step::Resend { delivery, force }),
        2 => (job(), 0..20_u64).prop_map(|(job, seconds)| Step::Prune { job, seconds }),
        1 => job().prop_map(|job| Step::Erase { job }),
        2 => prop_oneof![0..10_u64, Just(90_000)].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn a_job(number: u8) -> JobId {
    JobId::new(&format!("job-{number}")).unwrap()
}

fn a_spec(number: u8) -> JobSpec {
    match number {
        0 => JobSpec::default(),
        1 => spec(hook()),
        2 => spec(Webhook { max_retries: Some(1), ..telling(&EventKind::ALL) }),
        3 => spec(Webhook { max_retries: Some(2), ..telling(&[EventKind::Progress]) }),
        4 => {
            let options =
                WebhookOptions { headers: Some(SecretId(9)), rate_limit: Some(5), retry_schedule: Some(vec![3, 600]) };
            JobSpec { options, ..spec(Webhook { secret: Some(SecretId(1)), ..telling(&EventKind::ALL) }) }
        }
        _ => JobSpec { report: Report::of(Status::Failed), ..spec(Webhook { max_retries: Some(1), ..hook() }) },
    }
}

fn an_outcome(number: usize) -> Outcome {
    match number {
        0 => answer(200),
        1 => answer(410),
        2 => answer_after(503, Some(RetryAfter::Seconds(30))),
        3 => no_answer(FailureKind::Blocked),
        4 => no_answer(FailureKind::Timeout),
        _ => answer(500),
    }
}

/// A delivery that there is, or now and then one that there isn't.
fn a_delivery(given: &Given, number: usize) -> DeliveryId {
    d(number as u128 % (given.deliveries + 1) + 1)
}

fn command(given: &Given, step: &Step) -> Option<Command> {
    Some(match *step {
        Step::Register { job, spec } => Command::Register { id: a_job(job), spec: a_spec(spec) },
        Step::Report { job, status, completed, if_match } => {
            let status = status.map(|index| Status::ALL[index]);
            let report = Report { status, completed, ..Report::default() };
            Command::Report { job: a_job(job), if_match, report, rotation: None }
        }
        Step::Rotate { job, secret, overlap, status } => {
            let report = Report { status: status.map(|index| Status::ALL[index]), ..Report::default() };
            let rotation = Some(Rotation { secret: Some(SecretId(secret)), overlap });
            Command::Report { job: a_job(job), if_match: None, report, rotation }
        }
        Step::Cancel { job } => Command::Cancel { job: a_job(job) },
        Step::Expire { job } => Command::Expire { job: a_job(job) },
        Step::Start { delivery } => start(a_delivery(given, delivery)),
        Step::End { delivery, attempt, outcome } => {
            let delivery = a_delivery(given, delivery);
            let newest = given.state.delivery(delivery).map_or(1, Delivery::attempt);
            ended(delivery, attempt.unwrap_or(newest), an_outcome(outcome))
        }
        Step::Interrupt { delivery, crashed } => {
            Command::RecordInterruption { delivery: a_delivery(given, delivery), crashed }
        }
        Step::Retry { letter, force } => Command::RetryDeadLetter { id: DeadLetterId(letter), force },
        Step::Delete { letter } => delete(letter),
        Step::RetryMany { from, force } => {
            Command::RetryDeadLetters { ids: (from..from + 3).map(DeadLetterId).collect(), force }
        }
        Step::DeleteMany { from } => Command::DeleteDeadLetters { ids: (from..from + 2).map(DeadLetterId).collect() },
        Step::Resend { delivery, force } => Command::Resend { delivery: a_delivery(given, delivery), force },
        Step::Prune { job, seconds } => {
            Command::Prune { job: a_job(job), before: given.now.minus(Duration::from_secs(seconds)) }
        }
        Step::Erase { job } => Command::ErasePayloads { job: a_job(job) },
        Step::Wait { .. } => return None,
    })
}

/// The promises, checked from the events alone: the state can't hide a fault of its own.
#[derive(Default)]
struct Promises {
    deliveries: HashMap<DeliveryId, Seen>,
    statuses: HashMap<JobId, Status>,
    letters: HashMap<DeadLetterId, DeliveryId>,
    /// Each job's newest secret, once it was changed.
    secrets: HashMap<JobId, SecretId>,
    /// The newest registration.
    registered: Seq,
    /// The deliveries of each job.
    of: HashMap<JobId, Vec<DeliveryId>>,
    erased: HashSet<DeliveryId>,
}

#[derive(Default)]
struct Seen {
    allowed: u32,
    highest: u32,
    in_flight: Option<u32>,
    delivered: bool,
    closed: bool,
}

impl Promises {
    fn see(&mut self, Envelope { seq, job, event, prev, .. }: &Envelope) {
        let is_closed = |delivery: &DeliveryId| self.deliveries[delivery].closed;
        match event {
            Event::JobPruned => {
                assert!(
                    self.of.remove(job).unwrap_or_default().iter().all(is_closed),
                    "what is to be sent is not pruned"
                );
                assert!(self.statuses.remove(job).is_some_and(Status::is_terminal), "what goes on is not pruned");
                self.secrets.remove(job);
            }
            Event::PayloadsErased { deliveries } => {
                let of = self.of.get(job).unwrap();
                assert!(of.iter().all(is_closed), "what is to be sent is not erased");
                let before = self.erased.len();
                self.erased.extend(of);
                assert_eq!(self.erased.len() - before, *deliveries as usize);
            }
            Event::DeliveryScheduled { delivery, .. } => self.of.entry(job.clone()).or_default().push(*delivery),
            Event::JobRegistered { .. } => self.registered = *seq,
            Event::WebhookConfigured { .. } => {
                assert!(*prev == self.registered && *seq == prev.next(), "right after it");
            }
            Event::SecretRotated { secret, .. } => {
                assert_ne!(self.secrets.insert(job.clone(), *secret), Some(*secret), "another one each time");
            }
            _ => {}
        }
        if let Event::JobTransitioned { report } = event {
            let before = self.statuses.insert(job.clone(), report.status.unwrap());
            assert!(!before.is_some_and(Status::is_terminal), "a terminal status never changes");
        }
        let Some(delivery) = event.delivery() else { return };
        let seen = self.deliveries.entry(delivery).or_default();
        match event {
            Event::DeliveryScheduled { max_attempts, .. } => {
                assert_eq!(seen.allowed, 0, "scheduled once");
                seen.allowed = *max_attempts;
            }
            Event::AttemptStarted { attempt, .. } => {
                assert!(!self.erased.contains(&delivery), "what was erased is not sent");
                assert!(!seen.closed, "nothing is sent that is not to be sent");
                assert_eq!(seen.in_flight.replace(*attempt), None, "one attempt in flight at a time");
                assert!(*attempt == seen.highest || *attempt == seen.highest + 1, "numbers have no gaps");
                seen.highest = *attempt;
                assert!(*attempt <= seen.allowed, "no more attempts than allowed");
            }
            Event::AttemptSucceeded { attempt, .. } => {
                assert_eq!(seen.in_flight.take(), Some(*attempt));
                (seen.delivered, seen.closed) = (true, true);
            }
            Event::AttemptFailed { attempt, retry_at, .. } => {
                assert_eq!(seen.in_flight.take(), Some(*attempt));
                seen.closed = retry_at.is_none();
            }
            Event::AttemptInterrupted { attempt, .. } => assert_eq!(seen.in_flight.take(), Some(*attempt)),
            Event::DeliveryExhausted { dead_letter, .. } => {
                let count = self.letters.len() as u64;
                let is_new = !self.letters.contains_key(dead_letter);
                assert!(!(is_new && seen.delivered), "what was delivered never becomes a dead letter");
                let known = *self.letters.entry(*dead_letter).or_insert(delivery);
                assert!(
                    known == delivery && dead_letter.0 <= count + 1,
                    "one dead letter a delivery, densely numbered"
                );
                assert_eq!(self.letters.values().filter(|known| **known == delivery).count(), 1);
            }
            Event::DeliverySuperseded { .. } => {
                assert!(!self.letters.values().any(|known| *known == delivery), "a retry is never superseded");
                assert!(!seen.delivered, "what was delivered stays delivered");
                seen.closed = true;
            }
            Event::RedeliveryRequested { forced, .. } => {
                assert!(seen.closed && seen.in_flight.is_none(), "a retry begins when nothing is under way");
                assert_eq!(*forced, seen.delivered, "what was delivered is sent again by force only");
                (seen.closed, seen.allowed) = (false, seen.highest + 1);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Each step says whether a commit ends with it.
    #[test]
    fn whatever_is_asked_the_promises_hold(steps in proptest::collection::vec((step(), any::<bool>()), 1..120)) {
        let mut given = given();
        let mut promises = Promises::default();
        let mut rows = BTreeMap::new();
        for (step, commit) in steps.iter().chain(&[(Step::Cancel { job: 0 }, true)]) {
            if let Step::Wait { seconds } = step {
                given.now = given.now.plus(Duration::from_secs(*seconds));
            }
            let Some(command) = command(&given, step) else { continue };
            let before = given.log.len();
            let stamp = Stamp { now: given.now, delivery: DeliveryId(given.deliveries + 1) };
            let decided = decide(&given.state, &command, stamp);
            prop_assert_eq!(given.take(&command), decided, "the same question has the same answer");
            given.log[before..].iter().for_each(|envelope| promises.see(envelope));
            if !*commit {
                continue;
            }
            let changes = views::changes(&mut given.state, |key| Ok(rows.get(key).cloned())).unwrap();
            for change in changes {
                match change.value {
                    Some(value) => rows.insert(change.key, value),
                    None => rows.remove(&change.key),
                };
            }
        }
        prop_assert_eq!(&rows, &views::all_rows(&given.state), "the rows follow every event");
        let mut replayed = State::new(Policy { max_attempts: 9, ..Policy::default() });
        for envelope in &given.log {
            evolve(&mut replayed, envelope).unwrap();
        }
        prop_assert_eq!(views::all_rows(&replayed), rows, "a replay decides nothing, so the policy does not matter to it");
    }
}
