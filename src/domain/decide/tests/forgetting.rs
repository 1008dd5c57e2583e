//! What is forgotten: a job that is over for long enough, and payloads when somebody asks for it.

use super::super::super::state::Base;
use super::*;

fn prune(before: Timestamp) -> Command {
    Command::Prune { job: j(), before }
}

fn erase() -> Command {
    Command::ErasePayloads { job: j() }
}

fn resend(delivery: DeliveryId) -> Command {
    Command::Resend { delivery, force: true }
}

fn given_a_sent_delivery() -> Given {
    given_a_delivery(3).after(start(d(1))).after(ended(d(1), 1, answer(200)))
}

#[test]
fn a_job_is_pruned_when_it_was_not_touched_since_then() {
    let given = given_a_dead_letter();
    let touched = given.now;
    let given = given.later(Duration::from_hours(1));
    let given = given.when(prune(touched.minus(Duration::from_millis(1)))).nothing();
    let given = given.when(prune(touched)).then([Event::JobPruned]);
    assert!(given.state.is_empty() && given.state.dead_letter(DeadLetterId(1)).is_none(), "with all that it has");
    let totals = given.state.totals();
    assert_eq!((totals.dead_letters, totals.jobs.iter().sum::<u64>()), (0, 0));
    assert_eq!(totals.last_dead_letter, 1, "its number is not given again");
    let given = given.when(prune(touched)).refused(&Rejection::not_found("batch", "j"));
    let given = given.when(retry(1)).refused(&Rejection::not_found("dead letter", 1));
    let given = given.after(register(spec(hook())));
    assert_eq!(given.job().version, 1, "its id may be another job's");
}

#[test]
fn a_retry_counts_as_touching() {
    let given = given_a_sent_delivery();
    let before = given.now;
    let given = given.later(Duration::from_hours(1)).after(resend(d(1))).after(start(d(1)));
    let given = given.after(ended(d(1), 2, answer(500))).when(prune(before)).nothing();
    let now = given.now;
    given.when(prune(now)).then([Event::JobPruned]);
}

#[test]
fn what_is_under_way_is_not_pruned() {
    let late = START.plus(Duration::from_hours(1));
    let given = given().after(register(spec(telling(&EventKind::ALL)))).when(prune(late)).nothing();
    let given = given.after(counts(1)).when(prune(late)).nothing();
    let given = given.after(becomes(Status::Failed)).when(prune(late)).nothing();
    assert_eq!(given.job().active, 1, "the first was superseded by the second");
    let given = given.after(start(d(2))).when(prune(late)).nothing();
    let given = given.after(interrupted(d(2))).when(prune(late)).nothing();
    let given = given.after(start(d(2))).after(ended(d(2), 1, answer(410))).after(retry(1)).when(prune(late)).nothing();
    let given = given.after(start(d(2))).after(ended(d(2), 2, answer(200))).when(prune(late)).then([Event::JobPruned]);
    assert!(given.state.is_empty());
}

#[test]
fn every_payload_of_a_job_is_erased_once() {
    let given = given().after(register(spec(telling(&EventKind::ALL)))).when(erase()).nothing();
    let given = given.after(counts(1)).after(start(d(1))).after(ended(d(1), 1, answer(200)));
    let version = given.job().version;
    let given = given.when(erase()).then([Event::PayloadsErased { deliveries: 1 }]).when(erase()).nothing();
    assert_eq!(given.job().version, version, "nothing that the job says has changed");
    assert!(given.job().has_erased(given.delivery(d(1))));
    let given = given.after(counts(2)).when(erase()).conflict("delivery_under_way");
    let given = given.after(start(d(2))).when(erase()).conflict("delivery_under_way");
    let given = given.after(ended(d(2), 1, answer(410))).after(becomes(Status::Completed));
    let given = given.after(start(d(3))).after(ended(d(3), 1, answer(200)));
    let given = given.when(erase()).then([Event::PayloadsErased { deliveries: 2 }]).when(erase()).nothing();
    given
        .when(Command::ErasePayloads { job: JobId::new("other").unwrap() })
        .refused(&Rejection::not_found("batch", "other"));
}

#[test]
fn what_was_erased_is_not_sent_again() {
    let given = given_a_dead_letter().after(erase());
    let given = given.when(retry(1)).conflict("payload_erased").when(force(1)).conflict("payload_erased");
    let given = given.when(resend(d(1))).conflict("payload_erased");
    let many = Command::RetryDeadLetters { ids: vec![DeadLetterId(1)], force: true };
    let given = given.when(many).nothing();
    given.when(delete(1)).then([Event::DeadLetterDeleted { delivery: d(1), dead_letter: DeadLetterId(1) }]);
    let sent = given_a_sent_delivery().after(erase());
    sent.when(Command::Resend { delivery: d(1), force: false }).conflict("payload_erased");
}

/// What is replayed after a horizon: the events of a log whose first ones were given up.
fn replayed(events: &[Envelope], horizon: u64, base: Base) -> Result<State, &'static str> {
    let mut state = State::after(Seq(horizon), base);
    let left = events.iter().filter(|envelope| envelope.seq > Seq(horizon));
    left.into_iter().try_for_each(|envelope| evolve(&mut state, envelope)).map_err(|illegal| illegal.why)?;
    Ok(state)
}

#[test]
fn the_last_events_of_a_pruned_job_are_passed_over() {
    let given = given_a_dead_letter();
    let now = given.now;
    let given = given.after(prune(now)).after(register(spec(hook())));
    let log = given.log;
    let pruned = log.iter().position(|envelope| envelope.event == Event::JobPruned).unwrap() as u64 + 1;
    for horizon in 0..log.len() as u64 {
        let mut base = Base::default();
        log.iter().filter(|envelope| envelope.seq <= Seq(horizon)).for_each(|envelope| base.take(&envelope.event));
        let state = replayed(&log, horizon, base).unwrap();
        assert_eq!(state.job(&j()).map(|job| job.registered), Some(Seq(pruned + 1)), "after {horizon}");
        assert_eq!((state.len(), state.dead_letters().count(), state.incomplete()), (1, 0, None));
        assert_eq!(state.totals(), given.state.totals(), "after {horizon}");
        let unended = replayed(&log[..usize::try_from(pruned).unwrap() - 1], horizon, base).unwrap();
        let is_lost = (1..pruned - 1).contains(&horizon);
        assert_eq!(unended.incomplete(), is_lost.then(j).as_ref(), "after {horizon}: nothing says that it was pruned");
    }
}

#[test]
fn an_event_whose_beginning_is_lost_is_not_passed_over() {
    let given = given_a_dead_letter();
    let now = given.now;
    let log = given.after(prune(now)).log;
    let unknown = "the batch was never registered";
    for missing in 1..log.len() - 1 {
        let mut log = log.clone();
        let lost = log.remove(missing);
        assert_eq!(replayed(&log, 1, Base::default()).map(drop), Err(unknown), "without {lost:?}");
    }
    assert_eq!(replayed(&log[1..], 0, Base::default()).map(drop), Err(unknown), "nothing was given up");
}
