//! A job that reports a thousand times a second is told of once a second, and its newest state arrives last. The engine is
//! stepped, with a receiver that answers at once and a clock that is given.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use hookledger::attempt::Attempt;
use hookledger::domain::command::Command;
use hookledger::domain::delivery::DeliveryState;
use hookledger::domain::id::JobId;
use hookledger::domain::job::{JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::{EventKind, Webhook};
use hookledger::engine::{Engine, Input, Settings};
use hookledger::log::EventLog;
use hookledger::log::memory::MemoryLog;
use hookledger::schedule::WaitsFor;
use hookledger::views::{DeliveryFilter, Views};

const START: i64 = 1_769_851_800_000;

/// A job whose receiver takes everything at once.
struct World {
    disk: MemoryLog,
    engine: Engine,
    now: i64,
    /// When what arrived: milliseconds since the start.
    arrived: Vec<(i64, Attempt)>,
}

fn open(disk: &MemoryLog, now: i64, progress_interval: Duration) -> Engine {
    let settings = Settings { progress_interval, ..Settings::default() };
    Engine::open(Box::new(disk.reopen()), settings, [7; 32], Timestamp::from_millis(now)).unwrap()
}

impl World {
    fn new(progress_interval: Duration) -> Self {
        let disk = MemoryLog::new();
        let engine = open(&disk, START, progress_interval);
        let mut world = Self { disk, engine, now: START, arrived: Vec::new() };
        let events = EventKind::parse_list(&["progress".into(), "completed".into()]).unwrap();
        let webhook = Webhook { events: Some(events), ..Webhook::to("https://r.example/hook") };
        let spec = JobSpec { total: 1_000, webhook: Some(webhook), ..JobSpec::default() };
        world.step(vec![Input::of(Command::Register { id: job(), spec })]);
        world
    }

    fn step(&mut self, mut inputs: Vec<Input>) {
        loop {
            let step = self.engine.step(Timestamp::from_millis(self.now), std::mem::take(&mut inputs), 16).unwrap();
            if step.attempts.is_empty() {
                return;
            }
            for attempt in step.attempts {
                let result = Ok(Response { status: 200, excerpt: String::new(), retry_after: None });
                let (delivery, number) = (attempt.delivery, attempt.number);
                let outcome = Outcome { duration_ms: 0, result };
                inputs.push(Input::of(Command::RecordOutcome { delivery, attempt: number, outcome }));
                self.arrived.push((self.now - START, attempt));
            }
        }
    }

    fn report(&mut self, report: Report) {
        self.step(vec![Input::of(Command::Report { job: job(), if_match: None, report, rotation: None })]);
    }

    /// A thousand reports, one each millisecond.
    fn report_for_a_second(&mut self) {
        for completed in 1..=1_000 {
            self.now += 1;
            self.report(Report { completed: Some(completed), ..Report::default() });
        }
    }

    /// Lets time pass until nothing is waited for in the next minute.
    fn rest(&mut self) {
        let end = self.now + 60_000;
        while let Some(wake) = self.engine.next_wake().map(Timestamp::as_millis).filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.step(Vec::new());
        }
    }

    fn told(&self) -> Vec<(i64, String)> {
        let text = |attempt: &Attempt| String::from_utf8(attempt.body.to_vec()).unwrap();
        self.arrived.iter().map(|(at, attempt)| (*at, completed(&text(attempt)))).collect()
    }
}

fn job() -> JobId {
    JobId::new("a").unwrap()
}

fn completed(body: &str) -> String {
    let (_, rest) = body.split_once("\"completed\": ").unwrap();
    rest.split(',').next().unwrap().to_owned()
}

#[test]
fn a_thousand_reports_in_a_second_are_a_handful_of_requests_and_the_newest_state_arrives_last() {
    let mut world = World::new(Duration::from_secs(1));
    world.report_for_a_second();
    world.rest();
    let expected = [(1, "1".to_owned()), (1_001, "1000".to_owned())];
    assert_eq!(world.told(), expected);
    world.now += 10_000;
    world.report(Report { failed: Some(1), ..Report::default() });
    assert_eq!(world.arrived.len(), 3, "whoever reports seldom is told of at once");
}

#[test]
fn an_end_is_told_at_once() {
    let mut world = World::new(Duration::from_secs(1));
    world.report_for_a_second();
    world.report(Report::of(Status::Completed));
    world.rest();
    let kinds: Vec<_> = world.arrived.iter().map(|(at, attempt)| (*at, attempt.kind)).collect();
    assert_eq!(kinds, [(1, EventKind::Progress), (1_000, EventKind::Completed)]);
}

#[test]
fn without_an_interval_every_report_is_told() {
    let mut world = World::new(Duration::ZERO);
    world.report_for_a_second();
    assert_eq!(world.arrived.len(), 1_000);
}

#[test]
fn what_is_held_back_says_so_and_outlasts_a_restart() {
    let mut world = World::new(Duration::from_mins(1));
    world.report_for_a_second();
    let reader = world.disk.reopen().reader();
    let deliveries = Views::new(&*reader).deliveries(&DeliveryFilter::default(), None, 2_000).unwrap();
    let pending: Vec<_> =
        deliveries.iter().filter(|held| matches!(held.state, DeliveryState::Pending { .. })).collect();
    let [held] = pending[..] else { panic!("one is held back: {pending:?}") };
    assert_eq!(world.engine.waits_for(held.id), Some(WaitsFor::Interval));
    world.engine = open(&world.disk, world.now, Duration::from_mins(1));
    world.rest();
    let expected = [(1, "1".to_owned()), (1_000, "1000".to_owned())];
    assert_eq!(world.told(), expected);
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_back_for_longer() {
    let mut world = World::new(Duration::from_secs(1));
    world.report_for_a_second();
    world.now -= 3_600_000;
    world.step(Vec::new());
    let before = world.now;
    world.rest();
    assert_eq!(world.arrived.len(), 2);
    assert!(world.arrived[1].0 + START <= before + 1_000);
}
