//! Jobs: registration, reports, the status machine, cancelling and expiry.

use super::*;

fn registered(spec: JobSpec) -> Event {
    let expires_at = START.plus(Duration::from_hours(24));
    Event::JobRegistered { spec, expires_at }
}

fn invalid(param: &'static str, code: &'static str, message: &str) -> Rejection {
    Rejection::Invalid(Invalid::new(param, code, message))
}

#[test]
fn a_job_is_registered_with_every_default() {
    let given = given().when(register(JobSpec::default())).then([registered(JobSpec::default())]);
    let job = given.job();
    assert_eq!((job.status, job.version, job.latest.is_none()), (Status::Validating, 1, true));
    assert_eq!(job.spec.endpoint, "/v1/chat/completions");
    assert_eq!((job.times.created_at, job.times.expires_at), (START, START.plus(Duration::from_hours(24))));
}

#[test]
fn the_completion_window_counts_from_the_registration() {
    let half_an_hour = JobSpec { completion_window: "30m".into(), ..JobSpec::default() };
    let expires_at = START.plus(Duration::from_mins(30));
    given().when(register(half_an_hour.clone())).then([Event::JobRegistered { spec: half_an_hour, expires_at }]);
}

#[test]
fn registering_again_is_nothing_new_if_it_says_the_same_and_a_conflict_otherwise() {
    let again = given().after(register(spec(hook()))).later(Duration::from_secs(9));
    let again = again.when(register(spec(hook()))).nothing();
    let other = JobSpec { priority: 1, ..spec(hook()) };
    let again = again.when(register(other)).conflict("id_taken");
    let again = again.when(register(spec(Webhook { max_retries: Some(3), ..hook() }))).conflict("id_taken");
    again.after(becomes(Status::Completed)).when(register(spec(hook()))).nothing();
}

#[test]
fn a_job_that_is_done_already_is_registered_and_told_in_one_write() {
    let report = Report { output_file_id: Some("file-1".into()), total: Some(2), ..Report::of(Status::Completed) };
    let done = JobSpec { report: report.clone(), ..spec(hook()) };
    let given = given().when(register(done.clone())).then([
        registered(done.clone()),
        Event::JobTransitioned { report },
        scheduled(d(1), EventKind::Completed),
    ]);
    assert_eq!((given.job().status, given.job().counts.total), (Status::Completed, 2));
    given.when(register(done)).nothing();
}

#[test]
fn what_the_registration_says_twice_is_no_news() {
    let report = Report { total: Some(7), status: Some(Status::Validating), ..Report::default() };
    let twice = JobSpec { total: 7, report, ..spec(telling(&[EventKind::Progress])) };
    given().when(register(twice.clone())).then([registered(twice)]);
}

#[test]
fn fields_out_of_their_bounds_are_refused_by_name() {
    let bad = [
        (JobSpec { priority: 2, ..JobSpec::default() }, "priority", "invalid_priority"),
        (
            JobSpec { completion_window: "1w".into(), ..JobSpec::default() },
            "completion_window",
            "invalid_completion_window",
        ),
        (JobSpec { endpoint: "e".repeat(513), ..JobSpec::default() }, "endpoint", "too_long"),
        (JobSpec { input_file_id: Some(String::new()), ..JobSpec::default() }, "input_file_id", "empty"),
        (spec(Webhook::to("http://r.example/")), "webhook.url", "invalid_url"),
        (spec(Webhook { max_retries: Some(0), ..hook() }), "webhook.max_retries", "invalid_max_retries"),
        (spec(Webhook { max_retries: Some(11), ..hook() }), "webhook.max_retries", "invalid_max_retries"),
        (spec(Webhook { timeout: Some(4), ..hook() }), "webhook.timeout", "invalid_timeout"),
        (spec(Webhook { timeout: Some(301), ..hook() }), "webhook.timeout", "invalid_timeout"),
        (spec(telling(&[])), "webhook.events", "invalid_event"),
    ];
    for (spec, param, code) in bad {
        given().when(register(spec)).invalid(param, code);
    }
    let dev = given_policy(Policy { allow_http: true, ..Policy::default() });
    dev.after(register(spec(Webhook::to("http://r.example/"))));
}

#[test]
fn a_report_out_of_its_bounds_is_refused() {
    let given = given().after(register(JobSpec::default()));
    let long = Report { output_file_id: Some("x".repeat(513)), ..Report::default() };
    let message = "output_file_id has at most 512 characters";
    given.when(report(long)).refused(&invalid("output_file_id", "too_long", message));
}

#[test]
fn nothing_can_be_asked_of_a_job_that_is_not_there() {
    for command in [becomes(Status::Completed), cancel(), expire()] {
        given().when(command).refused(&Rejection::NotFound { what: "batch", id: "j".into() });
    }
}

/// The contract's table, written out: a row for each status, what it may become.
#[test]
fn every_transition_is_as_the_contract_has_it() {
    use Status::{Cancelled, Cancelling, Completed, Expired, Failed, Finalizing, InProgress, Validating};
    let legal: HashMap<Status, &[Status]> = HashMap::from([
        (Validating, &[InProgress, Finalizing, Completed, Failed, Expired, Cancelling, Cancelled][..]),
        (InProgress, &[Finalizing, Completed, Failed, Expired, Cancelling, Cancelled]),
        (Finalizing, &[Completed, Failed, Expired, Cancelling, Cancelled]),
        (Cancelling, &[Failed, Expired, Cancelled]),
        (Completed, &[]),
        (Failed, &[]),
        (Expired, &[]),
        (Cancelled, &[]),
    ]);
    for from in Status::ALL {
        let there = given().after(register(JobSpec::default()));
        let there = if from == Validating { there } else { there.after(becomes(from)) };
        for to in Status::ALL {
            let then = there.clone().when(becomes(to));
            if from == to {
                then.nothing();
            } else if legal[&from].contains(&to) {
                let given = then.then([transitioned(to)]);
                assert_eq!((given.job().status, given.job().version), (to, there.job().version + 1));
            } else {
                then.conflict("illegal_transition");
            }
        }
    }
}

#[test]
fn a_status_notes_when_it_was_reached_and_keeps_that() {
    let given = given().after(register(JobSpec::default())).later(Duration::from_secs(1));
    let given = given.after(becomes(Status::InProgress)).later(Duration::from_secs(1));
    let given = given.after(becomes(Status::InProgress)).after(becomes(Status::Completed));
    let times = given.job().times;
    assert_eq!(times.in_progress_at, Some(Timestamp::from_seconds(1001)));
    assert_eq!(times.completed_at, Some(Timestamp::from_seconds(1002)));
    assert_eq!((times.finalizing_at, times.failed_at), (None, None), "what was jumped over was not reached");
}

#[test]
fn only_the_news_in_a_report_is_recorded() {
    let full = Report {
        total: Some(9),
        completed: Some(3),
        failed: Some(1),
        output_file_id: Some("o".into()),
        error_file_id: Some("e".into()),
        errors: Some(vec![super::super::super::job::JobError::default()]),
        ..Report::of(Status::InProgress)
    };
    let given = given().after(register(spec(hook())));
    let given = given.when(report(full.clone())).then([Event::JobTransitioned { report: full.clone() }]);
    let given = given.when(report(full.clone())).nothing();
    assert_eq!(given.job().version, 2, "a repetition is no new version");
    let more = Report { completed: Some(4), ..full };
    let news = Report { completed: Some(4), ..Report::default() };
    given.when(report(more)).then([Event::ProgressReported { report: news }]);
}

#[test]
fn after_the_end_a_report_may_repeat_what_holds_and_nothing_else() {
    let given = given().after(register(JobSpec::default()));
    let done = Report { output_file_id: Some("o".into()), ..Report::of(Status::Completed) };
    let given = given.after(report(done.clone()));
    let given = given.when(report(done)).nothing();
    let given = given.when(report(Report { output_file_id: Some("p".into()), ..Report::default() }));
    given.conflict("illegal_transition").when(report(Report::default())).nothing();
}

#[test]
fn a_report_is_held_to_the_version_that_it_names() {
    let given = given().after(register(JobSpec::default())).after(becomes(Status::InProgress));
    let held = |version| Command::Report {
        job: j(),
        if_match: Some(version),
        report: Report::of(Status::Completed),
        rotation: None,
    };
    let given = given.when(held(1)).refused(&Rejection::Stale { version: 2 });
    let given = given.when(held(3)).refused(&Rejection::Stale { version: 2 });
    let given = given.when(held(2)).then([transitioned(Status::Completed)]);
    given.when(held(2)).refused(&Rejection::Stale { version: 3 });
}

#[test]
fn what_becomes_of_a_webhook_is_no_new_version_of_its_job() {
    let given = given_a_delivery(1);
    assert_eq!(given.job().version, 2);
    assert_eq!(given.after(start(d(1))).after(ended(d(1), 1, answer(500))).job().version, 2);
}

#[test]
fn cancelling_asks_once_and_never_after_the_end() {
    let given = given().after(register(spec(hook())));
    let given = given.when(cancel()).then([transitioned(Status::Cancelling)]);
    let given = given.when(cancel()).nothing();
    let given = given.when(becomes(Status::Completed)).conflict("illegal_transition");
    let told = [transitioned(Status::Cancelled), scheduled(d(1), EventKind::Cancelled)];
    given.when(becomes(Status::Cancelled)).then(told).when(cancel()).nothing();
    given_a_delivery(1).when(cancel()).conflict("illegal_transition");
}

#[test]
fn a_job_expires_when_its_window_ends_and_not_a_moment_before() {
    let millisecond = Duration::from_millis(1);
    let given = given().after(register(spec(hook()))).later(Duration::from_hours(24).saturating_sub(millisecond));
    let given = given.when(expire()).nothing().later(millisecond);
    let told = [transitioned(Status::Expired), scheduled(d(1), EventKind::Expired)];
    given.when(expire()).then(told).when(expire()).nothing();
}

#[test]
fn a_job_at_its_end_does_not_expire_and_a_cancelling_one_does() {
    given_a_delivery(1).later(Duration::from_hours(48)).when(expire()).nothing();
    let cancelling = given().after(register(JobSpec::default())).after(cancel()).later(Duration::from_hours(24));
    cancelling.when(expire()).then([transitioned(Status::Expired)]);
}

#[test]
fn a_webhook_is_told_what_it_asked_for_and_nothing_else() {
    use EventKind::{Cancelled, Completed, Expired, Failed, Progress};
    let ends = [
        (Status::Completed, Completed),
        (Status::Failed, Failed),
        (Status::Cancelled, Cancelled),
        (Status::Expired, Expired),
    ];
    for asked in [
        &[Completed][..],
        &[Failed],
        &[Progress],
        &[Cancelled, Expired],
        &[Completed, Failed, Progress, Cancelled, Expired],
    ] {
        for (status, kind) in ends {
            let told = asked.contains(&kind).then(|| scheduled(d(1), kind));
            let given = given().after(register(spec(telling(asked))));
            given.when(becomes(status)).then([transitioned(status)].into_iter().chain(told).collect::<Vec<_>>());
        }
        for (command, event) in [
            (becomes(Status::InProgress), transitioned(Status::InProgress)),
            (becomes(Status::Finalizing), transitioned(Status::Finalizing)),
            (counts(1), Event::ProgressReported { report: Report { completed: Some(1), ..Report::default() } }),
        ] {
            let told = asked.contains(&Progress).then(|| scheduled(d(1), Progress));
            let given = given().after(register(spec(telling(asked))));
            given.when(command).then([event].into_iter().chain(told).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_webhook_that_asks_for_nothing_is_told_all_but_progress() {
    for (status, kind) in Status::ALL.map(|status| (status, status.event_kind())) {
        let Some(kind) = kind else { continue };
        let told = (kind != EventKind::Progress).then(|| scheduled(d(1), kind));
        let given = given().after(register(spec(hook())));
        given.when(becomes(status)).then([transitioned(status)].into_iter().chain(told).collect::<Vec<_>>());
    }
}

#[test]
fn a_job_without_a_webhook_tells_nobody() {
    let given = given().after(register(JobSpec::default())).when(becomes(Status::Completed));
    given.then([transitioned(Status::Completed)]);
}

/// Every bound of a registration at once: what passes the check must fit into the log, or it would stop the engine.
#[test]
fn the_largest_job_that_is_accepted_fits_into_a_row() {
    let text = |chars| "\u{1f600}".repeat(chars);
    let error = super::super::super::job::JobError { message: Some("x".repeat(1000)), ..Default::default() };
    let mut errors = Vec::new();
    while (Report { errors: Some(errors.clone()), ..Report::default() }).check().is_ok() {
        errors.push(error.clone());
    }
    errors.pop();
    let largest = JobSpec {
        input_file_id: Some(text(512)),
        endpoint: text(512),
        metadata: (0..16).map(|key| (format!("{key:02}{}", text(62)), text(512))).collect(),
        output_expires_after: Some(super::super::super::job::ExpiresAfter { anchor: text(512), seconds: i64::MAX }),
        total: u64::MAX,
        webhook: Some(Webhook::to(format!("https://r.example/{}", "x".repeat(2048 - 18)))),
        report: Report {
            total: Some(u64::MAX),
            output_file_id: Some(text(512)),
            error_file_id: Some(text(512)),
            errors: Some(errors),
            ..Report::of(Status::Completed)
        },
        ..JobSpec::default()
    };
    let given = given().after(register(largest));
    let rows = crate::views::all_rows(&given.state);
    let row = rows.values().map(Vec::len).max().unwrap();
    let event = given.log.iter().map(|event| crate::log::codec::encode_event(event).len()).max().unwrap();
    // A stored value has a few bytes in front.
    assert!(row.max(event) + 16 <= crate::log::MAX_VALUE, "an event of {event} bytes, a row of {row}");
}
