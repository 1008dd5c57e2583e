//! Dead letters: one for a delivery, retried once, and again only when forced.

use super::*;

const LETTER: DeadLetterId = DeadLetterId(1);

const fn requested(forced: bool) -> Event {
    Event::RedeliveryRequested { delivery: d(1), forced }
}

/// What follows when the last attempt has failed.
fn failed_for_good(attempt: u32) -> [Event; 2] {
    [
        Event::AttemptFailed { delivery: d(1), attempt, end: end(500), retry_at: None },
        Event::DeliveryExhausted { delivery: d(1), dead_letter: LETTER },
    ]
}

fn given_a_successful_retry() -> Given {
    given_a_dead_letter().after(retry(1)).after(start(d(1))).after(ended(d(1), 2, answer(200)))
}

#[test]
fn an_exhausted_delivery_is_one_dead_letter() {
    let given = given_a_delivery(2).after(start(d(1))).after(ended(d(1), 1, answer(404)));
    let given = given.later(Duration::from_mins(1)).after(start(d(1))).later(Duration::from_secs(1));
    let given = given.when(ended(d(1), 2, answer(500))).then(failed_for_good(2));
    let letter = given.letter(1);
    assert_eq!((letter.delivery, letter.attempts, letter.error.as_str()), (d(1), 2, "HTTP 500"));
    assert_eq!((letter.last_attempt_at, letter.created_at), (Timestamp::from_seconds(1060), given.now));
    assert_eq!((letter.retried_at, letter.retry_success), (None, None));
    let latest = given.job().latest.as_ref().unwrap();
    assert_eq!((latest.status.as_str(), latest.error.as_deref()), ("failed", Some("HTTP 500")));
}

#[test]
fn dead_letters_are_numbered_in_the_order_in_which_deliveries_were_given_up() {
    let other = JobId::new("other").unwrap();
    let given = given_a_delivery(1).after(Command::Register { id: other.clone(), spec: spec(hook()) });
    let given =
        given.after(Command::Report { job: other, if_match: None, report: Report::of(Status::Failed), rotation: None });
    let given = given.after(start(d(2))).after(start(d(1)));
    let given = given.after(ended(d(2), 1, answer(410))).after(ended(d(1), 1, answer(410)));
    assert_eq!((given.letter(1).delivery, given.letter(2).delivery), (d(2), d(1)));
    let given = given.after(delete(2)).after(retry(1)).after(start(d(2))).after(ended(d(2), 2, answer(500)));
    assert_eq!(given.state.totals().last_dead_letter, 2, "a number is never given twice");
    assert_eq!(given.state.totals().dead_letters, 1);
}

#[test]
fn a_retry_is_one_attempt_of_the_same_delivery() {
    let given = given_a_dead_letter().later(Duration::from_mins(9));
    let given = given.when(retry(1)).then([requested(false)]);
    assert_eq!(given.delivery(d(1)).state, DeliveryState::Pending { due: given.now });
    let given = given.when(start(d(1))).then([Event::AttemptStarted { delivery: d(1), attempt: 2 }]);
    let given = given.after(ended(d(1), 2, answer(200)));
    let letter = given.letter(1);
    assert_eq!((letter.retried_at, letter.retry_success), (Some(given.now), Some(true)));
    let latest = given.job().latest.as_ref().unwrap();
    assert_eq!((latest.status.as_str(), &latest.error), ("sent", &None));
}

#[test]
fn a_retry_that_failed_makes_no_second_dead_letter_and_may_be_repeated() {
    let mut given = given_a_dead_letter();
    for attempt in 2..=4 {
        given = given.later(Duration::from_secs(10)).after(retry(1)).after(start(d(1)));
        given = given.when(ended(d(1), attempt, answer(500))).then(failed_for_good(attempt));
        let letter = given.letter(1);
        assert_eq!((letter.retried_at, letter.retry_success), (Some(given.now), Some(false)));
        assert_eq!((letter.attempts, letter.last_attempt_at, letter.created_at), (attempt, given.now, START));
    }
    assert_eq!(given.state.totals().dead_letters, 1);
    given.after(retry(1)).after(start(d(1))).after(ended(d(1), 5, answer(200)));
}

#[test]
fn a_retry_that_succeeded_is_not_repeated_unless_forced() {
    let given = given_a_successful_retry().when(retry(1)).refused(&Rejection::AlreadyRetried);
    let given = given.when(force(1)).then([requested(true)]);
    let given = given.when(start(d(1))).then([Event::AttemptStarted { delivery: d(1), attempt: 3 }]);
    let given = given.after(ended(d(1), 3, answer(200)));
    given.when(retry(1)).refused(&Rejection::AlreadyRetried).when(force(1)).then([requested(true)]);
}

#[test]
fn force_where_nothing_has_to_be_forced_is_an_ordinary_retry() {
    given_a_dead_letter().when(force(1)).then([requested(false)]);
}

#[test]
fn a_forced_retry_that_failed_takes_nothing_back() {
    let given = given_a_successful_retry();
    let delivered_at = given.delivery(d(1)).delivered_at;
    let given = given.later(Duration::from_secs(5)).after(force(1)).after(start(d(1)));
    let given = given.when(ended(d(1), 3, answer(500))).then(failed_for_good(3));
    let (delivery, letter) = (given.delivery(d(1)), given.letter(1));
    assert_eq!((delivery.state, delivery.delivered_at), (DeliveryState::Delivered, delivered_at));
    assert_eq!((letter.retry_success, letter.retried_at), (Some(true), Some(given.now)));
    assert_eq!(given.job().latest.as_ref().unwrap().status.as_str(), "sent");
    given.when(retry(1)).refused(&Rejection::AlreadyRetried).when(force(1)).then([requested(true)]);
}

#[test]
fn while_an_attempt_is_under_way_another_retry_is_a_conflict() {
    let waits = given_a_dead_letter().after(retry(1));
    let in_flight = waits.clone().after(start(d(1)));
    let forced = given_a_successful_retry().after(force(1));
    for given in [waits, in_flight, forced] {
        let given = given.when(retry(1)).conflict("attempt_in_flight");
        given.when(force(1)).conflict("attempt_in_flight");
    }
}

#[test]
fn an_interrupted_retry_is_made_again_and_never_becomes_a_second_one() {
    let given = given_a_dead_letter().after(retry(1)).after(start(d(1))).after(interrupted(d(1)));
    let given = given.when(retry(1)).conflict("attempt_in_flight");
    let given = given.when(start(d(1))).then([Event::AttemptStarted { delivery: d(1), attempt: 2 }]);
    given.after(ended(d(1), 2, answer(200))).when(retry(1)).refused(&Rejection::AlreadyRetried);
}

#[test]
fn a_retry_is_not_made_again_whatever_the_receiver_asks_for() {
    let given = given_a_dead_letter().after(retry(1)).after(start(d(1)));
    let asks = answer_after(503, Some(RetryAfter::Seconds(5)));
    let failed = Event::AttemptFailed { delivery: d(1), attempt: 2, end: end(503), retry_at: None };
    given.when(ended(d(1), 2, asks)).then([failed, Event::DeliveryExhausted { delivery: d(1), dead_letter: LETTER }]);
}

#[test]
fn a_deleted_dead_letter_is_gone_and_its_delivery_stays() {
    let deleted = Event::DeadLetterDeleted { delivery: d(1), dead_letter: LETTER };
    let given = given_a_dead_letter().when(delete(1)).then([deleted]);
    assert_eq!(given.state.totals().dead_letters, 0);
    assert_eq!(given.delivery(d(1)).state, DeliveryState::Dead);
    let gone = Rejection::NotFound { what: "dead letter", id: "1".into() };
    let given = given.when(delete(1)).refused(&gone);
    given.when(retry(1)).refused(&gone).when(force(1)).refused(&gone);
}

#[test]
fn a_dead_letter_that_was_deleted_during_its_retry_does_not_come_back() {
    let given = given_a_dead_letter().after(retry(1)).after(start(d(1))).after(delete(1));
    let failed = given.clone().when(ended(d(1), 2, answer(500))).then(failed_for_good(2));
    assert_eq!((failed.state.totals().dead_letters, failed.state.dead_letters().count()), (0, 0));
    assert_eq!(failed.delivery(d(1)).state, DeliveryState::Dead);
    let delivered = given.after(ended(d(1), 2, answer(200)));
    assert_eq!(delivered.delivery(d(1)).state, DeliveryState::Delivered);
    assert_eq!(delivered.state.dead_letters().count(), 0);
}

#[test]
fn rejections_are_in_words_for_whoever_sent_the_command() {
    let words = |rejection: &Rejection| rejection.to_string();
    assert_eq!(words(&Rejection::not_found("dead letter", 7)), "No dead letter with id '7'.");
    assert_eq!(
        words(&Rejection::AlreadyRetried),
        "Webhook already successfully retried. Use force=true to retry anyway."
    );
    let stale = "The batch has changed: its version is 4. Read it again and repeat the change.";
    assert_eq!(words(&Rejection::Stale { version: 4 }), stale);
    assert_eq!(words(&Rejection::NotInFlight), "No attempt with that number is in flight.");
}

#[test]
fn one_that_is_named_twice_is_taken_once() {
    let ids = vec![DeadLetterId(1), DeadLetterId(9), DeadLetterId(1)];
    let many = Command::RetryDeadLetters { ids: ids.clone(), force: false };
    let given = given_a_dead_letter().when(many.clone()).then([requested(false)]);
    given.clone().when(many).nothing();
    let gone = Event::DeadLetterDeleted { delivery: d(1), dead_letter: DeadLetterId(1) };
    given.when(Command::DeleteDeadLetters { ids }).then([gone]);
}
