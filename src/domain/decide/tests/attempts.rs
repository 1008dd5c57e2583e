//! Attempts: how often, when again, and when never again.

use super::*;

fn retry_at(given: &Given) -> Option<Timestamp> {
    match given.log.last().map(|envelope| &envelope.event) {
        Some(Event::AttemptFailed { retry_at, .. }) => *retry_at,
        other => panic!("no attempt has failed: {other:?}"),
    }
}

/// How long the delivery waits after its first attempt came to `outcome`.
fn wait_after(outcome: Outcome) -> Option<Duration> {
    let given = given_a_delivery(3).after(start(d(1))).after(ended(d(1), 1, outcome));
    retry_at(&given).map(|at| at.since(given.now))
}

#[test]
fn an_attempt_is_recorded_before_it_is_made_and_its_success_ends_it() {
    let given = given_a_delivery(3).when(start(d(1))).then([Event::AttemptStarted { delivery: d(1), attempt: 1 }]);
    assert_eq!(given.delivery(d(1)).state, DeliveryState::InFlight);
    let given = given.later(Duration::from_secs(2)).when(ended(d(1), 1, answer(204)));
    let given = given.then([Event::AttemptSucceeded { delivery: d(1), attempt: 1, end: end(204) }]);
    let delivery = given.delivery(d(1));
    assert_eq!((delivery.state, delivery.delivered_at), (DeliveryState::Delivered, Some(given.now)));
    let latest = given.job().latest.as_ref().unwrap();
    assert_eq!((latest.status.as_str(), latest.attempts, &latest.error), ("sent", 1, &None));
}

#[test]
fn what_the_receiver_answered_is_kept() {
    let response = Response { status: 200, excerpt: "thanks".into(), retry_after: None };
    let given = given_a_delivery(3).after(start(d(1)));
    let given = given.after(ended(d(1), 1, Outcome { duration_ms: 70, result: Ok(response) }));
    let end = given.delivery(d(1)).attempts[0].end.clone().unwrap();
    assert_eq!((end.duration_ms, end.excerpt.as_deref()), (70, Some("thanks")));
}

#[test]
fn only_one_attempt_is_under_way() {
    given_a_delivery(3).after(start(d(1))).when(start(d(1))).conflict("attempt_in_flight");
}

#[test]
fn a_delivery_that_is_not_there_has_no_attempts() {
    let missing = Rejection::NotFound { what: "delivery", id: d(9).to_string() };
    for command in [start(d(9)), ended(d(9), 1, answer(200)), interrupted(d(9))] {
        given_a_delivery(3).when(command).refused(&missing);
    }
}

#[test]
fn waits_double_from_a_second_on_with_a_tenth_of_jitter_at_most() {
    let mut given = given_a_delivery(10);
    for attempt in 1..=9 {
        given = given.after(start(d(1))).after(ended(d(1), attempt, answer(500)));
        let wait = retry_at(&given).unwrap().since(given.now);
        let least = Duration::from_secs(1 << (attempt - 1));
        assert!(wait >= least && wait <= least + least / 10, "after attempt {attempt}: {wait:?}");
        assert_eq!(given.delivery(d(1)).state, DeliveryState::Pending { due: given.now.plus(wait) });
        given = given.later(wait);
    }
    given = given.after(start(d(1)));
    let given = given.when(ended(d(1), 10, answer(500))).then([
        Event::AttemptFailed { delivery: d(1), attempt: 10, end: end(500), retry_at: None },
        Event::DeliveryExhausted { delivery: d(1), dead_letter: DeadLetterId(1) },
    ]);
    assert_eq!(given.letter(1).attempts, 10);
}

#[test]
fn waits_are_capped() {
    let backoff = super::super::super::retry::Backoff { base: Duration::from_secs(30), cap: Duration::from_mins(1) };
    let given = given_policy(Policy { max_attempts: 10, backoff, ..Policy::default() });
    let mut given = given.after(register(spec(hook()))).after(becomes(Status::Completed));
    for (attempt, least) in [(1, 30), (2, 60), (3, 60), (4, 60)] {
        given = given.after(start(d(1))).after(ended(d(1), attempt, answer(500)));
        let wait = retry_at(&given).unwrap().since(given.now).as_secs_f64();
        assert!(wait >= f64::from(least) && wait <= f64::from(least) * 1.1, "after attempt {attempt}: {wait}");
    }
}

#[test]
fn two_deliveries_that_fail_together_come_back_apart() {
    let waits = |id| {
        let backoff = Policy::default().backoff;
        (1..=5).map(|attempt| backoff.wait(d(id), attempt)).collect::<Vec<_>>()
    };
    assert_ne!(waits(1), waits(2));
    assert_eq!(waits(1), waits(1), "jitter is no chance");
}

#[test]
fn a_receiver_may_ask_for_a_wait_within_bounds() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let asked = |status, after| wait_after(answer_after(status, Some(after)));
    assert_eq!(asked(429, RetryAfter::Seconds(7)), seconds(7));
    assert_eq!(asked(503, RetryAfter::Seconds(7)), seconds(7));
    assert_eq!(asked(503, RetryAfter::At(START.plus(Duration::from_secs(90)))), seconds(90));
    assert_eq!(asked(429, RetryAfter::Seconds(100_000)), seconds(3600));
    assert_eq!(asked(429, RetryAfter::Seconds(0)), seconds(1));
    assert_eq!(asked(503, RetryAfter::At(Timestamp::default())), seconds(1), "a date that has passed");
    assert!(asked(500, RetryAfter::Seconds(77)).unwrap() < Duration::from_secs(2), "429 and 503 only");
}

#[test]
fn a_receiver_that_asks_for_a_wait_does_not_get_more_attempts() {
    let given = given_a_delivery(1).after(start(d(1)));
    let given = given.after(ended(d(1), 1, answer_after(429, Some(RetryAfter::Seconds(7)))));
    assert_eq!(given.delivery(d(1)).state, DeliveryState::Dead);
}

#[test]
fn nothing_but_2xx_is_a_success() {
    for status in [100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 422, 429, 500, 502, 503, 599] {
        assert!(wait_after(answer(status)).is_some(), "{status}");
    }
    for kind in [
        FailureKind::Resolve,
        FailureKind::Connect,
        FailureKind::Tls,
        FailureKind::Timeout,
        FailureKind::Protocol,
        FailureKind::Internal,
    ] {
        assert!(wait_after(no_answer(kind)).is_some(), "{kind:?}");
    }
}

#[test]
fn gone_and_blocked_are_final_whatever_is_left() {
    let blocked = AttemptEnd { duration_ms: 5, error: Some("blocked: so it was".into()), ..AttemptEnd::default() };
    for (outcome, end) in [(answer(410), end(410)), (no_answer(FailureKind::Blocked), blocked)] {
        let given = given_a_delivery(10).after(start(d(1)));
        given.when(ended(d(1), 1, outcome)).then([
            Event::AttemptFailed { delivery: d(1), attempt: 1, end, retry_at: None },
            Event::DeliveryExhausted { delivery: d(1), dead_letter: DeadLetterId(1) },
        ]);
    }
}

#[test]
fn a_webhook_may_set_its_attempts_and_its_timeout_each_alone() {
    let set = |max_retries, timeout| {
        let policy = Policy { max_attempts: 4, timeout: Duration::from_secs(44), ..Policy::default() };
        let given = given_policy(policy).after(register(spec(Webhook { max_retries, timeout, ..hook() })));
        let given = given.after(becomes(Status::Failed));
        (given.delivery(d(1)).max_attempts, given.delivery(d(1)).timeout)
    };
    assert_eq!(set(None, None), (4, 44), "the global defaults");
    assert_eq!(set(Some(10), None), (10, 44));
    assert_eq!(set(None, Some(300)), (4, 300));
    assert_eq!(set(Some(1), Some(5)), (1, 5));
    let given = given().after(register(spec(hook()))).after(becomes(Status::Failed));
    assert_eq!((given.delivery(d(1)).max_attempts, given.delivery(d(1)).timeout), (3, 30), "the documented defaults");
}

#[test]
fn the_global_defaults_are_those_of_the_moment_at_which_a_delivery_is_scheduled() {
    let mut given = given().after(register(spec(hook())));
    given.state.policy.max_attempts = 1;
    let given = given.after(becomes(Status::Completed));
    assert_eq!(given.delivery(d(1)).max_attempts, 1);
}

#[test]
fn an_outcome_that_is_recorded_already_is_dropped() {
    let given = given_a_delivery(3).when(ended(d(1), 1, answer(200))).refused(&Rejection::NotInFlight);
    let given = given.after(start(d(1))).when(ended(d(1), 2, answer(200))).refused(&Rejection::NotInFlight);
    let given = given.after(ended(d(1), 1, answer(500)));
    let given = given.when(ended(d(1), 1, answer(200))).refused(&Rejection::NotInFlight);
    let given = given.after(start(d(1))).when(ended(d(1), 1, answer(200))).refused(&Rejection::NotInFlight);
    let given = given.after(ended(d(1), 2, answer(200)));
    given.when(ended(d(1), 2, answer(200))).refused(&Rejection::NotInFlight);
}

#[test]
fn an_interrupted_attempt_is_made_again_at_once_under_the_same_number() {
    let given = given_a_delivery(3).after(start(d(1))).later(Duration::from_secs(5));
    let given =
        given.when(interrupted(d(1))).then([Event::AttemptInterrupted { delivery: d(1), attempt: 1, crashed: true }]);
    assert_eq!(given.delivery(d(1)).state, DeliveryState::Pending { due: given.now });
    let given = given.when(interrupted(d(1))).refused(&Rejection::NotInFlight);
    let given = given.when(ended(d(1), 1, answer(200))).refused(&Rejection::NotInFlight);
    let given = given.when(start(d(1))).then([Event::AttemptStarted { delivery: d(1), attempt: 1 }]);
    assert_eq!(given.delivery(d(1)).attempts.len(), 1);
    assert_eq!(given.delivery(d(1)).attempts[0].interruptions, 1);
    given.when(ended(d(1), 1, answer(200))).then([Event::AttemptSucceeded {
        delivery: d(1),
        attempt: 1,
        end: end(200),
    }]);
}

#[test]
fn an_orderly_end_of_the_process_is_never_a_failure_of_the_attempt() {
    let orderly = || Command::RecordInterruption { delivery: d(1), crashed: false };
    let mut given = given_a_delivery(1);
    for _ in 0..10 {
        given = given.after(start(d(1))).after(orderly());
    }
    let given = given.after(start(d(1)));
    assert_eq!(given.delivery(d(1)).attempt(), 1);
    assert_eq!(given.delivery(d(1)).attempts[0].interruptions, 0);
}

#[test]
fn the_third_interruption_of_an_attempt_is_a_failure() {
    let twice = |mut given: Given| {
        for _ in 0..2 {
            given = given.after(start(d(1))).after(interrupted(d(1)));
        }
        given.after(start(d(1)))
    };
    let given = twice(given_a_delivery(2)).after(interrupted(d(1)));
    let wait = retry_at(&given).unwrap().since(given.now);
    assert!(wait >= Duration::from_secs(1), "it waits as after any failure");
    let attempt = given.delivery(d(1)).attempts[0].clone();
    assert_eq!(
        attempt.end.unwrap().error.unwrap(),
        "interrupted 3 times by a crash of the process; what became of it is unknown"
    );
    // The next number begins to count anew.
    let given = twice(given).after(interrupted(d(1)));
    assert_eq!((given.delivery(d(1)).state, given.letter(1).attempts), (DeliveryState::Dead, 2));
}

#[test]
fn a_delivery_keeps_its_newest_attempts_and_its_numbers_go_on() {
    let mut given = given_a_dead_letter();
    for attempt in 2..=30 {
        given = given.after(retry(1)).after(start(d(1))).after(ended(d(1), attempt, answer(500)));
    }
    let numbers: Vec<_> = given.delivery(d(1)).attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (11..=30).collect::<Vec<_>>());
    assert_eq!((given.letter(1).attempts, given.state.totals().dead_letters), (30, 1));
}
