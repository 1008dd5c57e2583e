//! What is over for long enough is forgotten, with the beginning of the log, and nothing else is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hookledger::domain::command::Command;
use hookledger::domain::event::{Envelope, Event};
use hookledger::domain::evolve;
use hookledger::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use hookledger::domain::job::{Job, JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::rejection::Rejection;
use hookledger::domain::state::State;
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::{EventKind, Webhook};
use hookledger::engine::replay::{check_whole, differences, rebuild};
use hookledger::engine::{Answer, Asked, Engine, Input, Settings, Step, Ticket, When};
use hookledger::log::memory::{Fault, MemoryLog};
use hookledger::log::{Commit, EventLog, LogError, Order, RowWrite, chain, codec};
use hookledger::schedule::Pacing;
use hookledger::views::{DeliveryFilter, LetterFilter, Views};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_seconds(1_769_851_800);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// How long jobs are kept here, and when they are pruned at the latest, if the engine is stepped when it asks for it.
const KEPT: Duration = HOUR;
const GONE: Duration = Duration::from_mins(70);

fn settings() -> Settings {
    let pacing = Pacing { slots: 5_000, failures: None, ..Pacing::default() };
    let mut settings =
        Settings { pacing, retention: Some(KEPT), progress_interval: Duration::ZERO, ..Settings::default() };
    settings.policy.max_attempts = 2;
    settings
}

fn id(job: &str) -> JobId {
    JobId::new(job).unwrap()
}

fn register(job: &str, spec: JobSpec) -> Command {
    Command::Register { id: id(job), spec }
}

fn hooked() -> JobSpec {
    JobSpec { webhook: Some(Webhook::to("https://r.example/")), ..JobSpec::default() }
}

/// Already done when it is registered.
fn done(job: &str) -> Command {
    register(job, JobSpec { report: Report::of(Status::Completed), ..hooked() })
}

fn report(job: &str, report: Report) -> Command {
    Command::Report { job: id(job), if_match: None, report, rotation: None }
}

fn progress(job: &str, completed: u64) -> Command {
    report(job, Report { completed: Some(completed), ..Report::default() })
}

fn complete(job: &str) -> Command {
    report(job, Report::of(Status::Completed))
}

/// An engine in virtual time, and everything that it ever recorded.
struct World {
    log: MemoryLog,
    settings: Settings,
    engine: Engine,
    openings: u8,
    now: Timestamp,
    in_flight: Vec<(DeliveryId, u32)>,
    told: Vec<Envelope>,
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let log = MemoryLog::new();
        let engine = Engine::open(Box::new(log.reopen()), settings.clone(), [0; 32], START).unwrap();
        Self { log, settings, engine, openings: 0, now: START, in_flight: Vec::new(), told: Vec::new() }
    }

    fn step(&mut self, commands: Vec<Command>, slots: usize) -> Step {
        let asked = |ticket| Asked { ticket: Ticket(ticket), when: When::Committed, keep: None };
        let inputs = commands.into_iter().zip(0..);
        let inputs = inputs.map(|(command, ticket)| Input { asked: Some(asked(ticket)), ..Input::of(command) });
        let step = self.engine.step(self.now, inputs.collect(), slots).unwrap();
        self.in_flight.extend(step.attempts.iter().map(|attempt| (attempt.delivery, attempt.number)));
        self.listen();
        step
    }

    /// Notes what was recorded.
    fn listen(&mut self) {
        let heard = self.told.last().map_or(Seq::ZERO, |event| event.seq);
        self.told.extend(self.log.reader().events(heard, usize::MAX).unwrap());
    }

    #[track_caller]
    fn ask(&mut self, command: Command) -> Result<Answer, Rejection> {
        self.step(vec![command], 0).replies.pop().unwrap().1
    }

    /// Every attempt that is due is made, and ends so.
    fn attempts_end(&mut self, status: u16) {
        self.step(Vec::new(), usize::MAX);
        let response = Response { status, excerpt: String::new(), retry_after: None };
        let ends = std::mem::take(&mut self.in_flight).into_iter().map(|(delivery, attempt)| {
            let outcome = Outcome { duration_ms: 1, result: Ok(response.clone()) };
            Command::RecordOutcome { delivery, attempt, outcome }
        });
        self.step(ends.collect(), 0);
    }

    /// Steps whenever the engine asks for it, for so long.
    fn wait(&mut self, duration: Duration) {
        let until = self.now.plus(duration);
        let mut steps = 0;
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.step(Vec::new(), 0);
            steps += 1;
            assert!(steps < 10_000, "it asks again and again");
        }
        self.now = until;
    }

    fn reopen(&mut self) {
        self.openings += 1;
        self.in_flight.clear();
        let log = Box::new(self.log.reopen());
        self.engine = Engine::open(log, self.settings.clone(), [self.openings; 32], self.now).unwrap();
        self.listen();
    }

    fn job(&self, job: &str) -> Option<Job> {
        Views::new(&*self.log.reader()).job(&id(job)).unwrap()
    }

    fn horizon(&self) -> Seq {
        self.log.reader().anchor().unwrap().horizon
    }

    /// How many events there are of each name.
    fn count(&self, name: &str) -> usize {
        self.told.iter().filter(|envelope| envelope.event.name() == name).count()
    }

    /// The stored keys, but for what says of the store itself.
    fn keys(&self) -> Vec<Vec<u8>> {
        let records = self.log.reader().records(b"", None, usize::MAX).unwrap();
        let own = |key: &[u8]| key.starts_with(b"rm") || key == b"rt" || key == b"h";
        records.into_iter().map(|(key, _)| key).filter(|key| !own(key)).collect()
    }

    /// Whether any stored key has `part` in it.
    fn is_somewhere(&self, part: &[u8]) -> bool {
        self.keys().iter().any(|key| key.windows(part.len()).any(|window| window == part))
    }

    /// That the log is whole from its horizon on, that the views are what it leads to, that jobs which are there have all of
    /// their history, and that nothing is there of any other.
    #[track_caller]
    fn check(&self) {
        let reader = self.log.reader();
        let views = Views::new(&*reader);
        let (horizon, tail) = (self.horizon(), reader.tail());
        assert_eq!((self.engine.horizon(), self.engine.tail()), (horizon, tail));
        chain::check(&*reader).unwrap();
        let state = rebuild(&*reader, tail).unwrap();
        let different = differences(&state, &*reader).unwrap();
        let shown: Vec<_> = different.iter().map(|key| key.escape_ascii().to_string()).collect();
        assert!(different.is_empty(), "{shown:?} differ");
        assert_eq!(reader.events(horizon, usize::MAX).unwrap(), self.told_after(horizon));

        let lives = self.lives();
        let jobs: BTreeMap<JobId, Job> =
            views.jobs(None, None, usize::MAX).unwrap().into_iter().map(|job| (job.id.clone(), job)).collect();
        assert_eq!(jobs.keys().collect::<Vec<_>>(), lives.keys().collect::<Vec<_>>());
        for (job, history) in &lives {
            assert_eq!(views.history(&jobs[job]).unwrap(), *history, "the history of {job}");
            let middle = history[history.len() / 2].seq;
            let mut then = State::default();
            for envelope in history.iter().take_while(|envelope| envelope.seq <= middle) {
                evolve(&mut then, envelope).unwrap();
            }
            assert_eq!(views.job_at(job, middle).unwrap().as_ref(), then.job(job), "{job} as of {middle}");
        }
        self.check_carried(&lives);
        self.check_payloads(&jobs);
    }

    fn told_after(&self, seq: Seq) -> &[Envelope] {
        &self.told[usize::try_from(seq.0).unwrap()..]
    }

    /// The events of each job since it was registered last, if it was not pruned since.
    fn lives(&self) -> BTreeMap<JobId, Vec<Envelope>> {
        let mut lives: BTreeMap<JobId, Vec<Envelope>> = BTreeMap::new();
        for envelope in &self.told {
            let life = lives.entry(envelope.job.clone()).or_default();
            if envelope.event == Event::JobPruned {
                let newest = life.last().unwrap();
                assert!(newest.at.plus(KEPT) <= envelope.at, "{} was pruned too early", envelope.job);
                lives.remove(&envelope.job);
            } else {
                life.push(envelope.clone());
            }
        }
        lives
    }

    /// What is carried is what was given up of the jobs that are there.
    fn check_carried(&self, lives: &BTreeMap<JobId, Vec<Envelope>>) {
        let reader = self.log.reader();
        let records = reader.records(codec::CARRIED, None, usize::MAX).unwrap();
        let carried: Vec<_> = records.iter().map(|(key, sealed)| codec::open_carried(key, sealed).unwrap()).collect();
        let horizon = self.horizon();
        let expected = lives.values().flatten().filter(|envelope| envelope.seq <= horizon).cloned();
        assert_eq!(carried, expected.collect::<Vec<_>>());
        for (job, life) in lives {
            let expected: Vec<_> = life.iter().filter(|envelope| envelope.seq <= horizon).cloned().collect();
            assert_eq!(reader.carried(job).unwrap(), expected);
        }
    }

    /// A delivery has its payload until its job is pruned or its payload erased.
    fn check_payloads(&self, jobs: &BTreeMap<JobId, Job>) {
        let reader = self.log.reader();
        let views = Views::new(&*reader);
        let deliveries = views.deliveries(&DeliveryFilter::default(), None, usize::MAX).unwrap();
        let mut expected = BTreeSet::new();
        for delivery in &deliveries {
            let erased = jobs[&delivery.job].has_erased(delivery);
            assert_eq!(views.payload(delivery.id).unwrap().is_none(), erased, "the payload of {}", delivery.id);
            expected.extend((!erased).then_some(delivery.id.0.to_be_bytes()));
        }
        let keys = reader.keys(b"p", usize::MAX).unwrap();
        let stored: BTreeSet<[u8; 16]> = keys.iter().map(|key| *key[1..].first_chunk().unwrap()).collect();
        assert_eq!(stored, expected);
        let mut linked: Vec<_> = jobs.values().flat_map(|job| views.deliveries_of(job)).map(Result::unwrap).collect();
        linked.sort_by_key(|delivery| std::cmp::Reverse(delivery.scheduled));
        assert_eq!(linked, deliveries, "every delivery is found from its job");
        for job in jobs.values() {
            let active = deliveries.iter().filter(|delivery| delivery.job == job.id && delivery.is_active()).count();
            assert_eq!(job.active as usize, active, "what is under way of {}", job.id);
        }
    }
}

#[test]
fn a_job_that_is_over_is_kept_for_its_time_and_then_nothing_is_left_of_it() {
    let mut world = World::new();
    world.step(vec![done("over"), register("lives", hooked())], 0);
    world.attempts_end(500);
    world.wait(MINUTE);
    world.attempts_end(500);
    let letter = Views::new(&*world.log.reader()).dead_letter(DeadLetterId(1)).unwrap().unwrap();
    assert_eq!(letter.job, id("over"));
    world.wait(59 * MINUTE);
    assert!(world.job("over").is_some(), "its newest event is not old enough");
    world.check();
    let before = world.told.len();
    world.wait(11 * MINUTE);
    assert_eq!(world.job("over"), None);
    world.check();
    assert_eq!(world.told.len(), before + 1);
    let last = world.told.last().unwrap();
    assert_eq!((&last.event, &last.job), (&Event::JobPruned, &id("over")));
    for part in [&b"over"[..], &letter.delivery.0.to_be_bytes(), b"rx", b"rix", b"ril", b"riu", b"rd", b"rp"] {
        assert!(!world.is_somewhere(part), "{} is left", part.escape_ascii());
    }
    let reader = world.log.reader();
    let views = Views::new(&*reader);
    assert_eq!(views.letter_page(&LetterFilter::default(), 0, 9).unwrap().total, 0, "unresolved ones go too");
    assert_eq!(views.totals().unwrap().jobs.iter().sum::<u64>(), 1);
    assert_eq!(world.job("lives").unwrap().status, Status::Validating);
    assert_eq!(reader.carried(&id("lives")).unwrap().len(), 1, "what lives on keeps its history");

    // Much later not even that it was pruned is known.
    world.wait(25 * HOUR);
    assert_eq!(world.job("lives").unwrap().status, Status::Expired, "by itself");
    world.attempts_end(200);
    world.wait(2 * GONE);
    world.check();
    assert_eq!(world.job("lives"), None);
    world.wait(GONE);
    assert_eq!(world.keys(), Vec::<Vec<u8>>::new(), "nothing is left");
    assert_eq!(world.horizon(), world.engine.tail());
    world.reopen();
    world.check();
    world.step(vec![done("new")], 0);
    world.check();
    for _ in 0..2 {
        world.attempts_end(500);
        world.wait(MINUTE);
    }
    let latest = world.job("new").unwrap().latest.unwrap();
    let delivery = Views::new(&*world.log.reader()).delivery(latest.id).unwrap().unwrap();
    assert_eq!(delivery.dead_letter, Some(DeadLetterId(2)), "no number is given twice");
    world.check();
}

#[test]
fn what_is_under_way_keeps_its_job() {
    let mut world = World::new();
    world.step(vec![done("pending"), done("retried"), done("sent")], 0);
    let delivery_of = |world: &World, job: &str| world.job(job).unwrap().latest.unwrap().id;
    let pending = delivery_of(&world, "pending");
    world.step(Vec::new(), usize::MAX);
    let answer = |status| Ok(Response { status, excerpt: String::new(), retry_after: None });
    let ends = std::mem::take(&mut world.in_flight).into_iter().filter(|(delivery, _)| *delivery != pending);
    let ends = ends.map(|(delivery, attempt)| {
        let outcome = Outcome { duration_ms: 1, result: answer(200) };
        Command::RecordOutcome { delivery, attempt, outcome }
    });
    let ends = ends.collect();
    world.step(ends, 0);
    world.wait(KEPT / 2);
    world.ask(Command::Resend { delivery: delivery_of(&world, "retried"), force: true }).unwrap();
    world.wait(3 * GONE);
    world.check();
    assert_eq!(world.job("sent"), None);
    assert!(world.job("retried").is_some(), "it waits for its attempt");
    assert!(world.job("pending").is_some(), "its attempt is in flight");
    world.wait(HOUR);
    let outcome = Outcome { duration_ms: 1, result: answer(200) };
    world.step(vec![Command::RecordOutcome { delivery: pending, attempt: 1, outcome }], 0);
    world.check();
    world.wait(KEPT);
    assert!(world.job("pending").is_some(), "its newest event counts");
    world.wait(10 * MINUTE);
    assert_eq!(world.job("pending"), None);
    world.check();
}

/// A job that begins and ends within the allowance is never written a second time.
#[test]
fn of_jobs_that_were_over_soon_nothing_is_carried() {
    let mut world = World::new();
    for n in 0..40_u64 {
        world.step(vec![register(&format!("j{n}"), hooked())], 0);
        world.wait(2 * MINUTE);
        if let Some(before) = n.checked_sub(2) {
            world.step(vec![complete(&format!("j{before}"))], 0);
            world.attempts_end(200);
        }
        let carried = world.log.reader().records(codec::CARRIED, None, 99).unwrap();
        assert_eq!(carried, []);
    }
    assert!(world.count("job_pruned") > 0);
    world.check();
}

#[test]
fn an_id_may_be_registered_again_and_only_its_new_life_is_told() {
    let mut world = World::new();
    for life in 0..4 {
        let other = format!("other{life}");
        world.step(vec![done("j"), register(&other, JobSpec::default())], 0);
        world.attempts_end(200);
        world.check();
        world.wait(if life == 2 { GONE } else { GONE + 2 * KEPT });
        assert_eq!(world.job("j"), None);
        world.check();
    }
    world.step(vec![register("j", hooked())], 0);
    world.wait(3 * GONE);
    assert_eq!(world.job("j").unwrap().version, 1);
    world.check();
}

#[test]
fn a_clock_that_was_set_back_delays_and_one_that_was_set_forward_and_back_as_well() {
    let mut world = World::new();
    world.step(vec![done("a")], 0);
    world.attempts_end(200);
    world.now = START.minus(24 * HOUR);
    world.step(vec![done("b")], 0);
    world.attempts_end(200);
    world.check();
    world.wait(24 * HOUR + KEPT);
    assert!(world.job("a").is_some());
    world.wait(GONE);
    assert_eq!((world.job("a"), world.job("b")), (None, None));
    world.check();
}

/// A step sweeps a bounded part, and the engine asks to be stepped again soon until nothing is left to sweep.
#[test]
fn a_sweep_is_paced() {
    let mut world = World::new();
    for n in 0..300 {
        world.step((0..10).map(|job| done(&format!("j{n}-{job}"))).collect(), 0);
        world.attempts_end(200);
    }
    world.now = world.now.plus(GONE);
    let begun = world.now;
    let mut sweeps = Vec::new();
    while world.count("job_pruned") < 3000 {
        let wake = world.engine.next_wake().unwrap();
        assert!(wake <= world.now.plus(Duration::from_millis(25)), "there is more to sweep");
        world.now = world.now.max(wake);
        let before = world.horizon();
        world.step(Vec::new(), 0);
        sweeps.push(world.horizon().0 - before.0);
        assert_eq!(world.step(Vec::new(), 0).tail, world.engine.tail(), "and not at once again");
    }
    let most = sweeps.iter().max().unwrap();
    assert!((256..800).contains(most), "{most} events at once");
    let took = world.now.since(begun);
    assert!(took < Duration::from_secs(3), "{took:?} for 15,000 events");
    world.check();

    // With commits that come anyway it sweeps more than they append.
    let mut world = World::new();
    for n in 0..50 {
        world.step((0..10).map(|job| done(&format!("j{n}-{job}"))).collect(), 0);
        world.attempts_end(200);
    }
    let backlog = world.engine.tail().0 - world.horizon().0;
    world.now = world.now.plus(GONE);
    world.step(Vec::new(), 0);
    let (tail, horizon) = (world.engine.tail(), world.horizon());
    for n in 0..20 {
        world.step(vec![done(&format!("new{n}"))], 0);
    }
    let (appended, swept) = (world.engine.tail().0 - tail.0, world.horizon().0 - horizon.0);
    assert!(swept >= 40 * 2 && appended < backlog, "{swept} for {appended} events");
    world.check();
}

#[test]
fn without_retention_everything_stays() {
    let mut world = World::with(Settings { retention: None, ..settings() });
    world.step(vec![done("j")], 0);
    world.attempts_end(200);
    assert_eq!(world.engine.next_wake(), None, "there is nothing to wake up for");
    world.now = world.now.plus(1000 * 24 * HOUR);
    world.step(vec![done("k")], 0);
    assert_eq!((world.horizon(), world.count("job_pruned")), (Seq::ZERO, 0));
    world.check();
}

/// What is asked of a job in the very step in which it would be pruned comes first.
#[test]
fn whoever_asks_in_time_is_served() {
    let mut world = World::new();
    world.step(vec![done("j"), done("k")], 0);
    world.attempts_end(200);
    world.now = world.now.plus(2 * GONE);
    let delivery = world.job("j").unwrap().latest.unwrap().id;
    let step = world.step(vec![Command::Resend { delivery, force: true }], 0);
    assert!(step.replies[0].1.is_ok());
    assert!(world.job("j").is_some());
    assert_eq!(world.job("k"), None);
    world.check();
    let gone = world.ask(Command::Resend { delivery: DeliveryId(7), force: true }).unwrap_err();
    assert!(matches!(gone, Rejection::NotFound { .. }));
    assert!(matches!(world.ask(complete("k")).unwrap_err(), Rejection::NotFound { .. }));
}

/// A crash at the commit of a sweep leaves all of it or nothing.
#[test]
fn a_sweep_that_fails_is_there_as_a_whole_or_not() {
    for (fault, pruned) in [(Fault::Lost, 0), (Fault::Stored, 1)] {
        let mut world = World::new();
        world.step(vec![done("j"), register("k", hooked())], 0);
        world.attempts_end(200);
        world.now = world.now.plus(2 * GONE);
        let failing = Box::new(Failing { log: world.log.reopen(), fault });
        let mut engine = Engine::open(failing, settings(), [9; 32], world.now).unwrap();
        let next = engine.next_wake().unwrap();
        assert!(engine.step(next, Vec::new(), 0).is_err());
        drop(engine);
        world.reopen();
        world.listen();
        assert_eq!(world.count("job_pruned"), pruned, "{fault:?}");
        world.check();
        world.wait(MINUTE);
        assert_eq!(world.count("job_pruned"), 1);
        world.check();
    }
}

/// Something that is asked or that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Register {
        job: usize,
        kind: usize,
    },
    Report {
        job: usize,
        status: Option<Status>,
        completed: u64,
    },
    Cancel(usize),
    /// An attempt in flight ends.
    End {
        nth: usize,
        status: u16,
    },
    Retry(u64, bool),
    Delete(u64),
    Resend(usize, bool),
    Erase(usize),
    /// So many minutes in one go: the engine may sleep longer than it wants to.
    Sleep(u32),
    /// So many minutes, with a step whenever the engine asks for it.
    Wait(u32),
    SetBack(u32),
    Reopen,
    /// The views are made anew.
    Remake,
}

fn op() -> impl Strategy<Value = Op> {
    let status = || prop_oneof![3 => Just(None), 1 => prop::sample::select(&Status::ALL[..]).prop_map(Some)];
    let ended = || prop::sample::select(&[200_u16, 200, 500, 410][..]);
    prop_oneof![
        8 => (0..6_usize, 0..5_usize).prop_map(|(job, kind)| Op::Register { job, kind }),
        8 => (0..6_usize, status(), 0..5_u64).prop_map(|(job, status, completed)| Op::Report { job, status, completed }),
        1 => (0..6_usize).prop_map(Op::Cancel),
        12 => (0..4_usize, ended()).prop_map(|(nth, status)| Op::End { nth, status }),
        2 => (1..6_u64, any::<bool>()).prop_map(|(letter, force)| Op::Retry(letter, force)),
        1 => (1..6_u64).prop_map(Op::Delete),
        2 => (0..9_usize, any::<bool>()).prop_map(|(nth, force)| Op::Resend(nth, force)),
        2 => (0..6_usize).prop_map(Op::Erase),
        3 => (1..100_u32).prop_map(Op::Sleep),
        9 => (1..40_u32).prop_map(Op::Wait),
        1 => (1..200_u32).prop_map(Op::SetBack),
        1 => Just(Op::Reopen),
        1 => Just(Op::Remake),
    ]
}

impl World {
    fn play(&mut self, op: &Op) {
        let job = |number: &usize| format!("j{number}");
        let command = match op {
            Op::Register { job: number, kind } => {
                let webhook = Webhook { events: Some(EventKind::ALL.into()), ..Webhook::to("https://r.example/") };
                let webhook = (*kind > 0).then_some(webhook);
                let status = [None, None, Some(Status::Completed), Some(Status::Failed), None][*kind];
                let report = Report { status, ..Report::default() };
                let completion_window = if *kind == 4 { "1h" } else { "24h" }.into();
                register(&job(number), JobSpec { webhook, report, completion_window, ..JobSpec::default() })
            }
            Op::Report { job: number, status, completed } => {
                report(&job(number), Report { status: *status, completed: Some(*completed), ..Report::default() })
            }
            Op::Cancel(number) => Command::Cancel { job: id(&job(number)) },
            Op::End { nth, status } => {
                if self.in_flight.is_empty() {
                    return drop(self.step(Vec::new(), usize::MAX));
                }
                let (delivery, attempt) = self.in_flight.swap_remove(nth % self.in_flight.len());
                let response = Response { status: *status, excerpt: String::new(), retry_after: None };
                Command::RecordOutcome { delivery, attempt, outcome: Outcome { duration_ms: 1, result: Ok(response) } }
            }
            Op::Retry(letter, force) => Command::RetryDeadLetter { id: DeadLetterId(*letter), force: *force },
            Op::Delete(letter) => Command::DeleteDeadLetter { id: DeadLetterId(*letter) },
            Op::Resend(nth, force) => {
                let mut scheduled = self.told.iter().rev().filter_map(|envelope| match envelope.event {
                    Event::DeliveryScheduled { delivery, .. } => Some(delivery),
                    _ => None,
                });
                Command::Resend { delivery: scheduled.nth(*nth).unwrap_or(DeliveryId(1)), force: *force }
            }
            Op::Erase(number) => Command::ErasePayloads { job: id(&job(number)) },
            Op::Sleep(minutes) => return self.now = self.now.plus(*minutes * MINUTE),
            Op::Wait(minutes) => return self.wait(*minutes * MINUTE),
            Op::SetBack(minutes) => return self.now = self.now.minus(*minutes * MINUTE),
            Op::Reopen => return self.reopen(),
            Op::Remake => {
                let mut log = self.log.reopen();
                let version = RowWrite { key: b"m/views".to_vec(), value: None };
                log.commit(&Commit::new(log.tail(), &[], &[version])).unwrap();
                return self.reopen();
            }
        };
        // What is refused changes nothing; that is tested elsewhere.
        let _ = self.ask(command);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: what [`World::check`] promises holds after each of it, and in the end nothing is
    /// left over.
    #[test]
    fn whatever_happens_only_what_is_over_goes_and_all_of_it(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        for op in &ops {
            world.play(op);
            world.check();
        }
        // The jobs run out, and what is told of that arrives or is given up.
        world.reopen();
        world.now = world.now.max(START).plus(400 * MINUTE);
        for _ in 0..4 {
            world.wait(13 * HOUR);
            world.attempts_end(200);
        }
        world.check();
        world.wait(3 * GONE);
        world.check();
        prop_assert_eq!(world.keys(), Vec::<Vec<u8>>::new());
    }
}

/// A log of which every commit fails.
struct Failing {
    log: MemoryLog,
    fault: Fault,
}

impl EventLog for Failing {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        self.log.fail_next_commit(self.fault);
        self.log.commit(commit)
    }

    fn head(&self) -> chain::Head {
        self.log.head()
    }

    fn reader(&self) -> std::sync::Arc<dyn hookledger::log::LogReader> {
        self.log.reader()
    }
}

/// What can't be read is not forgotten, and holds up nothing but the sweep.
#[test]
fn damage_ends_a_sweep_and_not_the_engine() {
    let mut world = World::new();
    world.step(vec![done("j")], 0);
    let seq = world.engine.tail();
    world.step(vec![done("k")], 0);
    world.attempts_end(200);
    let flip = |record: &mut Vec<u8>| {
        *record.last_mut().unwrap() ^= 1;
        true
    };
    world.log.reopen().damage_event(seq, flip);
    world.wait(3 * GONE);
    assert!(world.ask(done("l")).is_ok());
    assert_eq!((world.horizon(), world.count("job_pruned")), (Seq::ZERO, 0));
    world.log.reopen().damage_event(seq, flip);
    world.reopen();
    world.wait(MINUTE);
    assert_eq!(world.count("job_pruned"), 2, "once it can be read");
    world.check();

    // A job whose row can't be read stays, with what it has; others go.
    world.step(vec![done("m"), done("n")], 0);
    world.attempts_end(200);
    let damaged = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    world.engine.step(world.now, Vec::new(), 0).unwrap();
    world.log.damage_row(b"jm", damaged);
    world.reopen();
    world.wait(3 * GONE);
    assert_eq!(world.job("n"), None);
    assert!(!world.log.reader().carried(&id("m")).unwrap().is_empty());
    world.log.damage_row(b"jm", damaged);
    world.check();
}

/// The views can be made anew from a log that begins in the middle, also where jobs were pruned whose last events are there.
#[test]
fn views_are_made_anew_from_what_is_left() {
    let mut world = World::new();
    world.step(vec![register("long", hooked()), register("j", hooked())], 0);
    for n in 1..40 {
        world.wait(2 * MINUTE);
        world.step(vec![progress("j", n), progress("long", n), done(&format!("done{n}"))], 0);
        world.attempts_end(if n % 3 == 0 { 410 } else { 200 });
    }
    world.step(vec![complete("j")], 0);
    world.attempts_end(200);
    let mut straddled = false;
    for _ in 0..40 {
        world.wait(2 * MINUTE);
        let reader = world.log.reader();
        let gone = world.job("j").is_none();
        straddled |= gone
            && world
                .told_after(world.horizon())
                .iter()
                .any(|event| event.job == id("j") && event.event != Event::JobPruned);
        world.check();
        let rows = |world: &World| -> Vec<_> {
            (b'a'..=b'z')
                .flat_map(|letter| world.log.reader().rows(&[letter], Order::Ascending, None, usize::MAX).unwrap())
                .collect()
        };
        let before = rows(&world);
        let mut log = world.log.reopen();
        let version = RowWrite { key: b"m/views".to_vec(), value: None };
        log.commit(&Commit::new(reader.tail(), &[], &[version])).unwrap();
        world.reopen();
        assert!(rows(&world) == before, "made anew, they are the same");
        world.check();
    }
    assert!(straddled, "a pruned job's last events were there while its first were not");
}

/// An event of a job that lives on, which was carried and is lost, is not taken for one of a job that was pruned.
#[test]
fn a_lost_carried_event_is_noticed() {
    let mut world = World::new();
    world.step(vec![register("long", hooked())], 0);
    world.wait(2 * GONE);
    world.step(vec![progress("long", 1)], 0);
    world.attempts_end(200);
    world.check();
    let reader = world.log.reader();
    assert_eq!(reader.carried(&id("long")).unwrap().len(), 1);
    let drop = hookledger::log::Pruning { horizon: world.engine.tail(), drop: vec![id("none")], ..Default::default() };
    assert_ne!(drop.horizon, world.horizon());
    let (key, _) = reader.records(codec::CARRIED, None, 1).unwrap().pop().unwrap();
    world.log.damage_record(&key, |_| false);
    let state = rebuild(&*reader, reader.tail()).unwrap();
    let lost = "the log is damaged at the beginning of batch 'long': it is missing";
    assert!(check_whole(&state).unwrap_err().to_string().starts_with(lost));
    assert!(differences(&state, &*reader).unwrap_err().to_string().starts_with(lost));
    let mut log = world.log.reopen();
    log.commit(&Commit::new(reader.tail(), &[], &[RowWrite { key: b"m/views".to_vec(), value: None }])).unwrap();
    let refused = Engine::open(Box::new(world.log.reopen()), settings(), [1; 32], world.now).err().unwrap();
    assert!(refused.to_string().starts_with(lost), "nor are the views made without it: {refused}");
}
