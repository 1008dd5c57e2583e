//! Progress: newer news takes the place of older news that has not been delivered.

use super::*;

fn given_progress() -> Given {
    given().after(register(spec(telling(&EventKind::ALL)))).after(counts(1))
}

fn progressed(completed: u64) -> Event {
    Event::ProgressReported { report: Report { completed: Some(completed), ..Report::default() } }
}

const fn superseded(delivery: DeliveryId) -> Event {
    Event::DeliverySuperseded { delivery }
}

#[test]
fn progress_that_waits_is_superseded_by_newer_progress() {
    let events = [progressed(2), superseded(d(1)), scheduled(d(2), EventKind::Progress)];
    let given = given_progress().when(counts(2)).then(events);
    assert_eq!(given.delivery(d(1)).state, DeliveryState::Superseded);
    let events = [transitioned(Status::Finalizing), superseded(d(2)), scheduled(d(3), EventKind::Progress)];
    let given = given.when(becomes(Status::Finalizing)).then(events);
    given.when(start(d(1))).conflict("attempt_in_flight");
}

#[test]
fn progress_that_waits_is_superseded_by_the_end() {
    for (status, kind) in [(Status::Completed, EventKind::Completed), (Status::Cancelled, EventKind::Cancelled)] {
        let events = [transitioned(status), superseded(d(1)), scheduled(d(2), kind)];
        let given = given_progress().when(becomes(status)).then(events);
        assert_eq!(given.job().progress, None);
    }
}

#[test]
fn progress_that_waits_for_another_attempt_is_superseded_too() {
    let given = given_progress().after(start(d(1))).after(ended(d(1), 1, answer(500)));
    given.when(counts(2)).then([progressed(2), superseded(d(1)), scheduled(d(2), EventKind::Progress)]);
}

#[test]
fn an_end_that_the_webhook_is_not_told_leaves_it_the_newest_progress() {
    let given = given().after(register(spec(telling(&[EventKind::Progress])))).after(counts(1));
    given.when(becomes(Status::Completed)).then([transitioned(Status::Completed)]);
}

#[test]
fn progress_in_flight_is_not_superseded_and_its_success_counts() {
    let given = given_progress().after(start(d(1)));
    let given = given.when(counts(2)).then([progressed(2), scheduled(d(2), EventKind::Progress)]);
    let given = given.when(ended(d(1), 1, answer(200)));
    let given = given.then([Event::AttemptSucceeded { delivery: d(1), attempt: 1, end: end(200) }]);
    assert_eq!(given.delivery(d(2)).state, DeliveryState::Pending { due: given.now });
}

#[test]
fn progress_in_flight_that_newer_news_overtook_is_superseded_when_it_fails() {
    let overtaken = [counts(2), becomes(Status::Completed)].map(|news| given_progress().after(start(d(1))).after(news));
    for given in overtaken {
        for status in [500, 410] {
            let failed = Event::AttemptFailed { delivery: d(1), attempt: 1, end: end(status), retry_at: None };
            let given = given.clone().when(ended(d(1), 1, answer(status))).then([failed, superseded(d(1))]);
            assert_eq!(given.delivery(d(1)).state, DeliveryState::Superseded);
            assert_eq!(given.state.totals().dead_letters, 0, "what is superseded is no dead letter");
        }
    }
}

#[test]
fn progress_in_flight_that_newer_news_overtook_is_superseded_when_it_is_interrupted() {
    for crashed in [true, false] {
        let cut_short = Event::AttemptInterrupted { delivery: d(1), attempt: 1, crashed };
        let interruption = Command::RecordInterruption { delivery: d(1), crashed };
        let newest = given_progress().after(start(d(1)));
        newest.clone().when(interruption.clone()).then([cut_short.clone()]);
        newest.after(counts(2)).when(interruption).then([cut_short, superseded(d(1))]);
    }
}

#[test]
fn the_newest_progress_is_retried_and_given_up_like_anything_else() {
    let mut given = given_progress();
    for attempt in 1..=3 {
        given = given.after(start(d(1))).after(ended(d(1), attempt, answer(500)));
    }
    assert_eq!((given.delivery(d(1)).state, given.letter(1).kind), (DeliveryState::Dead, EventKind::Progress));
    given.when(counts(2)).then([progressed(2), scheduled(d(2), EventKind::Progress)]);
}

/// Somebody asked for it, and may be waiting for its end.
#[test]
fn a_retried_dead_letter_is_never_superseded() {
    let mut given = given_progress();
    for attempt in 1..=3 {
        given = given.after(start(d(1))).after(ended(d(1), attempt, answer(500)));
    }
    // While its retry waits for a free slot.
    let waiting = given.clone().after(retry(1));
    let waiting = waiting.when(counts(2)).then([progressed(2), scheduled(d(2), EventKind::Progress)]);
    assert_eq!(waiting.delivery(d(1)).state, DeliveryState::Pending { due: waiting.now });
    // While its retry is being made.
    let given = given.after(counts(2)).after(retry(1)).after(start(d(1))).after(counts(3));
    given.when(ended(d(1), 4, answer(500))).then([
        Event::AttemptFailed { delivery: d(1), attempt: 4, end: end(500), retry_at: None },
        Event::DeliveryExhausted { delivery: d(1), dead_letter: DeadLetterId(1) },
    ]);
}
