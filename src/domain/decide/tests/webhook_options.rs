//! What a webhook is configured with beyond the registration's own fields, and other secrets for it.

use super::*;

fn options() -> WebhookOptions {
    WebhookOptions { headers: Some(SecretId(7)), rate_limit: Some(50), retry_schedule: Some(vec![5, 300]) }
}

fn with(options: WebhookOptions) -> JobSpec {
    JobSpec { options, ..spec(hook()) }
}

fn registered() -> Event {
    Event::JobRegistered { spec: spec(hook()), expires_at: START.plus(Duration::from_hours(24)) }
}

fn rotate(secret: u128, overlap: u32) -> Command {
    rotate_and_report(secret, overlap, Report::default())
}

fn rotate_and_report(secret: u128, overlap: u32, report: Report) -> Command {
    let rotation = Some(Rotation { secret: Some(SecretId(secret)), overlap });
    Command::Report { job: j(), if_match: None, report, rotation }
}

fn rotated(secret: u128, former_until: Timestamp) -> Event {
    Event::SecretRotated { secret: SecretId(secret), former_until }
}

/// A job whose webhook was registered with secret 1.
fn given_a_secret() -> Given {
    given().after(register(spec(Webhook { secret: Some(SecretId(1)), ..hook() })))
}

#[test]
fn options_have_an_event_of_their_own_right_after_the_registration() {
    let given =
        given().when(register(with(options()))).then([registered(), Event::WebhookConfigured { options: options() }]);
    assert_eq!((given.job().version, &given.job().spec), (1, &with(options())));
}

#[test]
fn a_job_that_is_done_already_is_told_by_its_options() {
    let done = JobSpec { report: Report::of(Status::Completed), ..with(options()) };
    let bare = JobSpec { options: WebhookOptions::default(), ..done.clone() };
    let destination = Destination::Webhook(j());
    let given = given().when(register(done)).then([
        Event::JobRegistered { spec: bare, expires_at: START.plus(Duration::from_hours(24)) },
        Event::WebhookConfigured { options: options() },
        transitioned(Status::Completed),
        Event::DeliveryScheduled {
            delivery: d(1),
            destination,
            kind: EventKind::Completed,
            max_attempts: 3,
            timeout: 30,
        },
    ]);
    assert_eq!(given.delivery(d(1)).rate_limit, Some(50));
}

#[test]
fn other_options_are_another_body() {
    let mut given = given().after(register(with(options())));
    given = given.when(register(with(options()))).nothing();
    for other in [
        WebhookOptions { headers: Some(SecretId(8)), ..options() },
        WebhookOptions { rate_limit: None, ..options() },
        WebhookOptions { retry_schedule: Some(vec![5, 301]), ..options() },
        WebhookOptions::default(),
    ] {
        given = given.when(register(with(other))).conflict("id_taken");
    }
    given = given.after(becomes(Status::Completed)).when(register(with(options()))).nothing();
    given.when(register(with(options()))).nothing();
}

#[test]
fn options_are_held_to_their_bounds_and_need_a_webhook() {
    let rate = WebhookOptions { rate_limit: Some(0), ..WebhookOptions::default() };
    given().when(register(with(rate))).invalid("webhook.rate_limit", "invalid_rate_limit");
    let schedule = WebhookOptions { retry_schedule: Some(vec![]), ..WebhookOptions::default() };
    given().when(register(with(schedule))).invalid("webhook.retry_schedule", "invalid_retry_schedule");
    let alone = JobSpec { options: options(), ..JobSpec::default() };
    given().when(register(alone)).invalid("webhook.url", "missing_field");
}

/// The waits after the attempts of delivery 1, which all fail, and how many attempts were made.
fn waits(mut given: Given) -> (Vec<Duration>, u32) {
    let mut waits = Vec::new();
    loop {
        let attempt = given.delivery(d(1)).next_attempt();
        given = given.after(start(d(1))).after(ended(d(1), attempt, answer(500)));
        let DeliveryState::Pending { due } = given.delivery(d(1)).state else { return (waits, attempt) };
        let wait = due.since(given.now);
        waits.push(wait);
        given = given.later(wait);
    }
}

#[test]
fn a_schedule_of_its_own_says_when_and_how_often() {
    let scheduled = |max_retries, policy: Policy, schedule: Option<Vec<u32>>| {
        let options = WebhookOptions { retry_schedule: schedule, ..WebhookOptions::default() };
        let spec = JobSpec { options, ..spec(Webhook { max_retries, ..hook() }) };
        waits(given_policy(policy).after(register(spec)).after(becomes(Status::Completed)))
    };
    let check = |(waits, attempts): (Vec<Duration>, u32), expected: &[u64]| {
        assert_eq!((waits.len(), attempts as usize), (expected.len(), expected.len() + 1));
        for (seconds, wait) in expected.iter().zip(waits) {
            let least = Duration::from_secs(*seconds);
            assert!(wait >= least && wait <= least * 11 / 10, "{wait:?} for {least:?}");
        }
    };
    let global = || Policy {
        retry_schedule: [20, 2_000].map(Duration::from_secs).to_vec(),
        max_attempts: 4,
        ..Policy::default()
    };
    check(scheduled(None, Policy::default(), Some(vec![50, 3_000, 700])), &[50, 3_000, 700]);
    check(scheduled(Some(5), Policy::default(), Some(vec![50, 3_000])), &[50, 3_000, 3_000, 3_000]);
    check(scheduled(Some(2), Policy::default(), Some(vec![50, 3_000])), &[50]);
    check(scheduled(None, global(), Some(vec![50, 3_000])), &[50, 3_000]);
    check(scheduled(None, global(), None), &[20, 2_000, 2_000]);
    check(scheduled(Some(2), global(), None), &[20]);
}

#[test]
fn a_receiver_may_ask_for_another_wait_than_the_schedule_has() {
    let options = WebhookOptions { retry_schedule: Some(vec![600]), ..WebhookOptions::default() };
    let given = given().after(register(with(options))).after(becomes(Status::Completed)).after(start(d(1)));
    let given = given.after(ended(d(1), 1, answer_after(503, Some(RetryAfter::Seconds(7)))));
    assert_eq!(given.delivery(d(1)).state, DeliveryState::Pending { due: START.plus(Duration::from_secs(7)) });
}

#[test]
fn a_new_secret_signs_with_the_former_one_for_a_while() {
    let until = START.plus(Duration::from_mins(1));
    let given = given_a_secret().when(rotate(2, 60)).then([rotated(2, until)]);
    let job = given.job();
    assert_eq!((job.version, job.secret()), (2, Some(SecretId(2))));
    assert_eq!(job.signing, Some(Signing { secret: SecretId(2), former: Some(SecretId(1)), former_until: until }));
    // Of what signed before, the newest alone goes on.
    let given =
        given.later(Duration::from_secs(1)).when(rotate(3, 0)).then([rotated(3, START.plus(Duration::from_secs(1)))]);
    assert_eq!(given.job().signing.unwrap().former, Some(SecretId(2)));
    let given = given.after(rotate(1, 60));
    assert_eq!((given.job().version, given.job().secret()), (4, Some(SecretId(1))));
}

#[test]
fn the_same_secret_again_is_no_news() {
    let given = given_a_secret().when(rotate(1, 60)).nothing();
    let given = given.when(rotate(2, 60)).then([rotated(2, START.plus(Duration::from_mins(1)))]);
    let given = given.later(Duration::from_secs(9)).when(rotate(2, 600)).nothing();
    assert_eq!(given.job().version, 2);
}

#[test]
fn a_secret_may_be_given_where_there_was_none_and_on_a_job_that_is_done() {
    let given = given().after(register(spec(hook()))).after(becomes(Status::Completed));
    let given = given.when(rotate(2, 60)).then([rotated(2, START.plus(Duration::from_mins(1)))]);
    assert_eq!(given.job().signing.unwrap().former, None, "what signs for webhooks without a secret");
}

#[test]
fn a_registration_repeated_after_a_rotation_is_the_same_one() {
    let original = || register(spec(Webhook { secret: Some(SecretId(1)), ..hook() }));
    let given = given_a_secret().after(rotate(2, 60)).when(original()).nothing();
    let given = given.when(register(spec(Webhook { secret: Some(SecretId(2)), ..hook() }))).conflict("id_taken");
    given.after(becomes(Status::Completed)).when(original()).nothing();
}

#[test]
fn a_rotation_and_a_report_happen_together_or_not_at_all() {
    let until = START.plus(Duration::from_mins(1));
    let given = given_a_secret().when(rotate_and_report(2, 60, Report::of(Status::Completed))).then([
        rotated(2, until),
        transitioned(Status::Completed),
        scheduled(d(1), EventKind::Completed),
    ]);
    let given = given.when(rotate_and_report(3, 60, Report::of(Status::Failed))).conflict("illegal_transition");
    let given = given.when(rotate_and_report(3, 60, Report::of(Status::Completed))).then([rotated(3, until)]);
    let stale = Command::Report {
        job: j(),
        if_match: Some(1),
        report: Report::default(),
        rotation: Some(Rotation { secret: Some(SecretId(4)), overlap: 0 }),
    };
    given.when(stale).refused(&Rejection::Stale { version: 4 });
}

#[test]
fn a_rotation_that_makes_no_sense_is_refused() {
    let message = "The batch has no webhook: there is nothing that a secret could sign.".into();
    let refused = Rejection::Conflict { code: "no_webhook", message };
    given().after(register(JobSpec::default())).when(rotate(2, 60)).refused(&refused);
    let given = given_a_secret().when(rotate(2, 604_801)).invalid("webhook.overlap", "invalid_overlap");
    let nameless = Some(Rotation { secret: None, overlap: 0 });
    let nameless = Command::Report { job: j(), if_match: None, report: Report::default(), rotation: nameless };
    given.when(nameless).invalid("webhook.secret", "missing_field");
    given_a_secret().when(rotate(2, 604_800)).then([rotated(2, START.plus(Duration::from_hours(168)))]);
    let unknown = Command::Report { job: j(), if_match: None, report: Report::default(), rotation: None };
    self::given().when(unknown).refused(&Rejection::not_found("batch", "j"));
}

#[test]
fn an_event_that_can_not_have_happened_is_refused() {
    let illegal = |given: &Given, event: Event| {
        let prev = given.job().head;
        let seq = Seq(given.log.len() as u64 + 1);
        let envelope = Envelope { seq, at: given.now, job: j(), prev, event };
        assert!(evolve(&mut given.state.clone(), &envelope).is_err(), "{envelope:?}");
    };
    let configured = Event::WebhookConfigured { options: options() };
    illegal(&given_a_secret().after(becomes(Status::InProgress)), configured.clone());
    illegal(&given().after(register(with(options()))), configured.clone());
    illegal(&given().after(register(JobSpec::default())), configured);
    illegal(&given_a_secret(), rotated(1, START));
    illegal(&given().after(register(JobSpec::default())), rotated(1, START));
}
