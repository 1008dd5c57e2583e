//! Every list of the views, after every commit, against a model that goes through everything there is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookledger::domain::command::Command;
use hookledger::domain::delivery::{DeadLetter, Delivery, DeliveryStatus};
use hookledger::domain::event::Envelope;
use hookledger::domain::id::{DeadLetterId, DeliveryId, JobId, Seq};
use hookledger::domain::job::{Job, JobSpec, Report, Status};
use hookledger::domain::outcome::{Outcome, Response};
use hookledger::domain::state::{Policy, State};
use hookledger::domain::time::Timestamp;
use hookledger::domain::webhook::{EventKind, Webhook};
use hookledger::engine::replay::{advance, differences, rebuild};
use hookledger::engine::{Asked, Engine, Input, Settings, Ticket, When};
use hookledger::log::chain::Head;
use hookledger::log::memory::MemoryLog;
use hookledger::log::{Anchor, Commit, EventLog, LogError, LogReader, Order, Row, RowWrite, codec};
use hookledger::schedule::Pacing;
use hookledger::views::{DeliveryFilter, LetterFilter, Views};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_seconds(1_769_851_800);
const JOBS: usize = 8;
const URLS: [&str; 3] = ["https://a.example/", "https://b.example/hook", "https://b.example/hook?x"];

/// What is asked of the engine. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Op {
    Register {
        job: usize,
        url: usize,
        status: Option<Status>,
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
    RetryMany(u64, bool),
    Delete(u64),
    DeleteMany(u64),
    Resend(usize, bool),
    /// Events that change no list, so that what follows lies in another block of the index.
    Distance(u64),
}

/// One commit.
#[derive(Clone, Debug)]
struct Turn {
    ops: Vec<Op>,
    slots: usize,
    seconds: u64,
    crash: bool,
}

impl Turn {
    fn of(ops: impl Into<Vec<Op>>, slots: usize) -> Self {
        Self { ops: ops.into(), slots, seconds: 0, crash: false }
    }
}

struct World {
    log: MemoryLog,
    engine: Engine,
    openings: u8,
    now: Timestamp,
    in_flight: Vec<(DeliveryId, u32)>,
    reports: u64,
    /// What the events lead to, up to there.
    state: State,
    at: Seq,
}

fn open(log: &MemoryLog, openings: u8, now: Timestamp) -> Engine {
    let pacing = Pacing { slots: 5_000, failures: None, ..Pacing::default() };
    let mut settings = Settings { pacing, ..Settings::default() };
    settings.policy.max_attempts = 2;
    Engine::open(Box::new(log.reopen()), settings, [openings; 32], now).unwrap()
}

fn job(number: usize) -> JobId {
    JobId::new(&format!("j{number}")).unwrap()
}

impl World {
    fn new() -> Self {
        let log = MemoryLog::new();
        let engine = open(&log, 0, START);
        let state = State::new(Policy::default());
        let mut world =
            Self { log, engine, openings: 0, now: START, in_flight: Vec::new(), reports: 0, state, at: Seq::ZERO };
        let far = Command::Register { id: JobId::new("far").unwrap(), spec: JobSpec::default() };
        world.step(vec![far], 0);
        world
    }

    fn play(&mut self, turn: &Turn) {
        self.now = self.now.plus(Duration::from_secs(turn.seconds));
        if turn.crash {
            self.reopen();
        }
        let commands = turn.ops.iter().flat_map(|op| self.commands(op)).collect();
        self.step(commands, turn.slots);
    }

    fn reopen(&mut self) {
        self.openings += 1;
        self.in_flight.clear();
        self.engine = open(&self.log, self.openings, self.now);
    }

    fn step(&mut self, commands: Vec<Command>, slots: usize) {
        let asked = Asked { ticket: Ticket(0), when: When::Committed, keep: None };
        let inputs = commands.into_iter().map(|command| Input { asked: Some(asked.clone()), ..Input::of(command) });
        let step = self.engine.step(self.now, inputs.collect(), slots).unwrap();
        self.in_flight.extend(step.attempts.iter().map(|attempt| (attempt.delivery, attempt.number)));
        let reader = self.log.reader();
        self.at = advance(&mut self.state, &*reader, self.at, reader.tail()).unwrap();
    }

    fn commands(&mut self, op: &Op) -> Vec<Command> {
        let letters = |first: u64| (first..first + 3).map(DeadLetterId).collect();
        vec![match op.clone() {
            Op::Register { job: number, url, status } => {
                let webhook =
                    URLS.get(url).map(|url| Webhook { events: Some(EventKind::ALL.into()), ..Webhook::to(*url) });
                let report = Report { status, ..Report::default() };
                let window = if number % 2 == 0 { "30m" } else { "24h" };
                let spec = JobSpec { webhook, report, completion_window: window.into(), ..JobSpec::default() };
                Command::Register { id: job(number), spec }
            }
            Op::Report { job: number, status, completed } => {
                let report = Report { status, completed: Some(completed), ..Report::default() };
                Command::Report { job: job(number), if_match: None, report, rotation: None }
            }
            Op::Cancel(number) => Command::Cancel { job: job(number) },
            Op::End { .. } if self.in_flight.is_empty() => return Vec::new(),
            Op::End { nth, status } => {
                let (delivery, attempt) = self.in_flight.remove(nth % self.in_flight.len());
                let response = Response { status, excerpt: String::new(), retry_after: None };
                Command::RecordOutcome { delivery, attempt, outcome: Outcome { duration_ms: 3, result: Ok(response) } }
            }
            Op::Retry(letter, force) => Command::RetryDeadLetter { id: DeadLetterId(letter), force },
            Op::RetryMany(first, force) => Command::RetryDeadLetters { ids: letters(first), force },
            Op::Delete(letter) => Command::DeleteDeadLetter { id: DeadLetterId(letter) },
            Op::DeleteMany(first) => Command::DeleteDeadLetters { ids: letters(first) },
            Op::Resend(nth, force) => {
                let mut ids: Vec<_> =
                    self.state.deliveries().map(|delivery| (delivery.scheduled, delivery.id)).collect();
                ids.sort_unstable();
                let Some((_, delivery)) = ids.get(nth % ids.len().max(1)).copied() else { return Vec::new() };
                Command::Resend { delivery, force }
            }
            Op::Distance(reports) => {
                let far = JobId::new("far").unwrap();
                let numbers = self.reports + 1..=self.reports + reports;
                self.reports += reports;
                let report = |completed| Report { completed: Some(completed), ..Report::default() };
                return numbers
                    .map(|n| Command::Report { job: far.clone(), if_match: None, report: report(n), rotation: None })
                    .collect();
            }
        }]
    }

    /// Lets the number of the next dead letter be in another block.
    fn skip_numbers(&mut self) {
        let reader = self.log.reader();
        let mut totals = Views::new(&*reader).totals().unwrap();
        totals.last_dead_letter += 512;
        let row = RowWrite { key: b"t".to_vec(), value: Some(codec::encode(&totals)) };
        let mut log = self.log.reopen();
        log.commit(&Commit::new(log.tail(), &[], &[row])).unwrap();
        self.reopen();
    }
}

fn jobs_of(state: &State, status: Option<Status>) -> Vec<Job> {
    let wanted = |job: &&Job| status.is_none_or(|status| job.status == status);
    let mut jobs: Vec<_> = state.jobs().filter(wanted).cloned().collect();
    jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.registered));
    jobs
}

fn jobs_named(state: &State, prefix: &str, status: Option<Status>) -> Vec<Job> {
    let mut jobs = jobs_of(state, status);
    jobs.retain(|job| job.id.as_str().starts_with(prefix));
    jobs.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    jobs
}

fn deliveries_of(state: &State, filter: &DeliveryFilter) -> Vec<Delivery> {
    let wanted = |delivery: &&Delivery| {
        filter.job.as_ref().is_none_or(|job| delivery.job == *job)
            && filter.status.is_none_or(|status| delivery.state.status() == status)
            && filter.kind.is_none_or(|kind| delivery.kind == kind)
    };
    let mut deliveries: Vec<_> = state.deliveries().filter(wanted).cloned().collect();
    deliveries.sort_unstable_by_key(|delivery| std::cmp::Reverse(delivery.scheduled));
    deliveries
}

fn letters_of(state: &State, filter: &LetterFilter) -> Vec<DeadLetter> {
    let wanted = |letter: &&DeadLetter| {
        filter.job.as_ref().is_none_or(|job| letter.job == *job)
            && filter.kind.is_none_or(|kind| letter.kind == kind)
            && filter.url.as_ref().is_none_or(|url| letter.url == *url)
            && filter.resolved.is_none_or(|resolved| (letter.retry_success == Some(true)) == resolved)
            && filter.since.is_none_or(|since| letter.created_at >= since)
            && filter.until.is_none_or(|until| letter.created_at < until)
    };
    let mut letters: Vec<_> = state.dead_letters().filter(wanted).cloned().collect();
    letters.sort_unstable_by_key(|letter| std::cmp::Reverse(letter.id));
    letters
}

fn walk<T>(limit: usize, at: impl Fn(&T) -> Seq, page: impl Fn(Option<Seq>) -> Result<Vec<T>, LogError>) -> Vec<T> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = page(before).unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return all };
        before = Some(at(last));
        all.extend(page);
    }
}

fn delivery_filters() -> impl Iterator<Item = DeliveryFilter> {
    let jobs = [None, Some(job(0)), Some(job(3)), Some(job(99))];
    let statuses = DeliveryStatus::ALL.map(Some).into_iter().chain([None]);
    jobs.into_iter().flat_map(move |job| {
        let statuses = statuses.clone();
        statuses.flat_map(move |status| {
            let kinds = EventKind::ALL.map(Some).into_iter().chain([None]);
            let job = job.clone();
            kinds.map(move |kind| DeliveryFilter { job: job.clone(), status, kind })
        })
    })
}

fn letter_filters(times: &[Option<Timestamp>]) -> Vec<LetterFilter> {
    let mut filters = vec![LetterFilter::default()];
    let each = |filters: Vec<LetterFilter>, set: &dyn Fn(&LetterFilter) -> Vec<LetterFilter>| -> Vec<LetterFilter> {
        filters.iter().flat_map(set).collect()
    };
    filters = each(filters, &|filter| {
        [None, Some(job(0)), Some(job(3)), Some(job(99))].map(|job| LetterFilter { job, ..filter.clone() }).into()
    });
    filters = each(filters, &|filter| {
        let kinds = [None, Some(EventKind::Completed), Some(EventKind::Progress), Some(EventKind::Expired)];
        kinds.map(|kind| LetterFilter { kind, ..filter.clone() }).into()
    });
    filters = each(filters, &|filter| {
        let urls = [None, Some(URLS[0]), Some(URLS[1]), Some("https://b.example/")];
        urls.map(|url| LetterFilter { url: url.map(String::from), ..filter.clone() }).into()
    });
    filters = each(filters, &|filter| {
        [None, Some(true), Some(false)].map(|resolved| LetterFilter { resolved, ..filter.clone() }).into()
    });
    filters =
        each(filters, &|filter| times.iter().map(|since| LetterFilter { since: *since, ..filter.clone() }).collect());
    each(filters, &|filter| times.iter().map(|until| LetterFilter { until: *until, ..filter.clone() }).collect())
}

/// Holds the lists against the model. One of `part` filters of dead letters is looked at, for there are very many.
fn check(world: &World, limits: &[usize], part: usize) {
    let (state, reader) = (&world.state, world.log.reader());
    let views = Views::new(&*reader);
    for &limit in limits {
        for status in Status::ALL.map(Some).into_iter().chain([None]) {
            let all = walk(limit, |job: &Job| job.registered, |before| views.jobs(status, before, limit));
            assert_eq!(all, jobs_of(state, status), "{status:?} by {limit}");
        }
        let statuses = Status::ALL.map(Some).into_iter().chain([None]);
        for (prefix, status) in ["j", "j1", "fa", "far", "k", "J"]
            .iter()
            .flat_map(|prefix| statuses.clone().map(move |status| (prefix, status)))
        {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = views.jobs_named(prefix, status, after.as_ref(), limit).unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                all.extend(page);
            }
            assert_eq!(all, jobs_named(state, prefix, status), "{prefix} {status:?} by {limit}");
        }
        for filter in delivery_filters() {
            let at = |delivery: &Delivery| delivery.scheduled;
            let all = walk(limit, at, |before| views.deliveries(&filter, before, limit));
            assert_eq!(all, deliveries_of(state, &filter), "{filter:?} by {limit}");
        }
    }
    check_letters(world, limits, part);
    let different = differences(state, &*reader).unwrap();
    let different: Vec<_> = different.iter().map(|key| key.escape_ascii().to_string()).collect();
    assert!(different.is_empty(), "{different:?}");
}

fn check_letters(world: &World, limits: &[usize], part: usize) {
    let (state, reader) = (&world.state, world.log.reader());
    let views = Views::new(&*reader);
    let made: Vec<_> = letters_of(state, &LetterFilter::default()).iter().map(|letter| letter.created_at).collect();
    let times = [None, made.get(made.len() / 2).copied(), Some(world.now)];
    for (n, filter) in letter_filters(&times).iter().enumerate().filter(|(n, _)| n % part == 0) {
        let model = letters_of(state, filter);
        let (limit, offset) = (limits[n % limits.len()], n % 4);
        let page = views.letter_page(filter, offset as u64, limit).unwrap();
        let expected: Vec<_> = model.iter().skip(offset).take(limit).cloned().collect();
        assert_eq!((page.letters, page.total), (expected, model.len() as u64), "{filter:?} {offset} {limit}");
        let numbers: Result<Vec<_>, _> = views.letter_numbers(filter).unwrap().collect();
        let expected: Vec<_> = model.iter().map(|letter| letter.id).collect();
        assert_eq!(numbers.unwrap().concat(), expected, "{filter:?}");
    }
}

fn op() -> impl Strategy<Value = Op> {
    let status = || prop::option::of(prop::sample::select(Status::ALL.to_vec()));
    prop_oneof![
        6 => (0..JOBS, 0..URLS.len() + 1, prop::option::weighted(0.4, prop::sample::select(Status::ALL.to_vec())))
            .prop_map(|(job, url, status)| Op::Register { job, url, status }),
        6 => (0..JOBS, status(), 0..4_u64).prop_map(|(job, status, completed)| Op::Report { job, status, completed }),
        1 => (0..JOBS).prop_map(Op::Cancel),
        10 => (0..40_usize, prop::sample::select(vec![200, 410, 410, 500])).prop_map(|(nth, status)| Op::End { nth, status }),
        3 => (1..7_u64, any::<bool>()).prop_map(|(letter, force)| Op::Retry(letter, force)),
        1 => (1..7_u64, any::<bool>()).prop_map(|(first, force)| Op::RetryMany(first, force)),
        1 => (1..7_u64).prop_map(Op::Delete),
        1 => (1..7_u64).prop_map(Op::DeleteMany),
        2 => (0..40_usize, any::<bool>()).prop_map(|(nth, force)| Op::Resend(nth, force)),
        1 => (1..400_u64).prop_map(Op::Distance),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let seconds = prop_oneof![4 => Just(0_u64), 4 => 1..5_u64, 1 => 600..2_000_u64];
    (prop::collection::vec(op(), 0..6), 0..6_usize, seconds, prop::bool::weighted(0.06))
        .prop_map(|(ops, slots, seconds, crash)| Turn { ops, slots, seconds, crash })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_time: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn lists_are_what_the_events_say(turns in prop::collection::vec(turn(), 1..24)) {
        let mut world = World::new();
        for (n, turn) in turns.iter().enumerate() {
            world.play(turn);
            check(&world, &[[3, 1, 7, 100, 2][n % 5]], 61);
        }
        check(&world, &[1, 2, 5, 100], 7);
        let reader = world.log.reader();
        prop_assert_eq!(&rebuild(&*reader, reader.tail()).unwrap(), &world.state);
    }
}

#[test]
fn lists_of_thousands_are_too() {
    const MANY: usize = 1_100;
    let mut world = World::new();
    let kinds = [Status::Completed, Status::Failed, Status::Cancelled];
    let register = |job| Op::Register { job, url: job % 2, status: Some(kinds[job % 3]) };
    world.play(&Turn::of((0..MANY).map(register).collect::<Vec<_>>(), MANY));
    let end = |_| Op::End { nth: 0, status: 410 };
    world.play(&Turn { seconds: 5, ..Turn::of((0..MANY / 2).map(end).collect::<Vec<_>>(), 0) });
    world.play(&Turn { seconds: 5, ..Turn::of((MANY / 2..MANY).map(end).collect::<Vec<_>>(), 0) });
    assert_eq!(world.state.totals().dead_letters, MANY as u64);
    world.play(&Turn::of((1..=MANY as u64).step_by(5).map(|n| Op::Retry(n, false)).collect::<Vec<_>>(), MANY));
    world.play(&Turn::of((0..200).map(|nth| Op::End { nth, status: 200 }).collect::<Vec<_>>(), 0));
    world.play(&Turn::of((1..=MANY as u64).step_by(3).map(Op::Delete).collect::<Vec<_>>(), 0));
    check_letters(&world, &[100, 7], 29);
    // All of one block.
    world.play(&Turn::of((512..1024).map(Op::Delete).collect::<Vec<_>>(), 0));
    check_letters(&world, &[100, 500], 61);
    world.play(&Turn { crash: true, ..Turn::of([], 0) });
    check_letters(&world, &[1000], 97);
    let reader = world.log.reader();
    assert!(differences(&world.state, &*reader).unwrap().is_empty());
}

/// A reader between two of whose reads a commit comes.
struct Interrupted<'a> {
    reader: Arc<dyn LogReader>,
    reads: AtomicUsize,
    at: usize,
    world: Mutex<World>,
    commit: &'a Turn,
}

impl Interrupted<'_> {
    fn read(&self) -> &dyn LogReader {
        if self.reads.fetch_add(1, Ordering::SeqCst) == self.at {
            self.world.lock().unwrap().play(self.commit);
        }
        &*self.reader
    }
}

impl LogReader for Interrupted<'_> {
    fn neighbours(&self, seq: Seq) -> Result<Vec<Envelope>, LogError> {
        self.read().neighbours(seq)
    }

    fn keys(&self, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LogError> {
        self.read().keys(prefix, limit)
    }

    fn head(&self) -> Head {
        self.reader.head()
    }

    fn anchor(&self) -> Result<Anchor, LogError> {
        self.read().anchor()
    }

    fn carried(&self, job: &JobId) -> Result<Vec<Envelope>, LogError> {
        self.read().carried(job)
    }

    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError> {
        self.read().records(prefix, after, limit)
    }

    fn events(&self, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError> {
        self.read().events(after, limit)
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        self.read().row(key)
    }

    fn rows(&self, prefix: &[u8], order: Order, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError> {
        self.read().rows(prefix, order, after, limit)
    }
}

type Read = dyn Fn(&Views<'_>) -> Result<Vec<u64>, LogError>;
type Model = dyn Fn(&State) -> Vec<u64>;

/// A list, and the model's.
struct List {
    name: String,
    read: Box<Read>,
    model: Box<Model>,
}

fn lists() -> Vec<List> {
    let mut lists = Vec::new();
    for status in [None, Some(Status::Completed), Some(Status::InProgress)] {
        let number = |jobs: Vec<Job>| jobs.iter().map(|job| job.registered.0).collect();
        lists.push(List {
            name: format!("jobs {status:?}"),
            read: Box::new(move |views| views.jobs(status, None, 100).map(number)),
            model: Box::new(move |state| number(jobs_of(state, status))),
        });
    }
    let newest_first = |jobs: Vec<Job>| {
        let mut numbers: Vec<_> = jobs.iter().map(|job| job.registered.0).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers
    };
    lists.push(List {
        name: "jobs named j…".into(),
        read: Box::new(move |views| views.jobs_named("j", None, None, 100).map(newest_first)),
        model: Box::new(move |state| newest_first(jobs_named(state, "j", None))),
    });
    let few = |filter: &DeliveryFilter| {
        let kinds = [None, Some(EventKind::Completed), Some(EventKind::Progress)];
        [None, Some(job(3))].contains(&filter.job) && kinds.contains(&filter.kind)
    };
    for filter in delivery_filters().filter(few) {
        let number = |deliveries: Vec<Delivery>| deliveries.iter().map(|delivery| delivery.scheduled.0).collect();
        let same = filter.clone();
        lists.push(List {
            name: format!("{filter:?}"),
            read: Box::new(move |views| views.deliveries(&filter, None, 100).map(number)),
            model: Box::new(move |state| number(deliveries_of(state, &same))),
        });
    }
    let few = |filter: &LetterFilter| {
        let LetterFilter { job: id, kind, url, .. } = filter;
        [None, Some(job(3))].contains(id)
            && [None, Some(EventKind::Completed)].contains(kind)
            && url.as_deref().is_none_or(|url| url == URLS[0])
    };
    for filter in letter_filters(&[None]).into_iter().filter(few) {
        let number = |letters: Vec<DeadLetter>| letters.iter().map(|letter| letter.id.0).collect();
        let same = filter.clone();
        lists.push(List {
            name: format!("{filter:?}"),
            read: Box::new(move |views| views.letter_page(&filter, 0, 100).map(|page| number(page.letters))),
            model: Box::new(move |state| number(letters_of(state, &same))),
        });
    }
    lists
}

/// The dead letter of a scene that lies in that block.
const fn letter(block: u64) -> u64 {
    1 + 513 * block
}

/// Deliveries of every status, and dead letters in as many blocks of the index, the newest of them resolved.
fn scene(letters: usize) -> World {
    let mut world = World::new();
    for number in 0..letters {
        let status = if number == 1 { Status::Failed } else { Status::Completed };
        world.play(&Turn::of([Op::Register { job: number, url: number % 2, status: Some(status) }], 1));
        world.play(&Turn::of([Op::End { nth: 0, status: 410 }], 0));
        world.skip_numbers();
    }
    world.play(&Turn::of([Op::Retry(letter(letters as u64 - 1), false)], 1));
    world.play(&Turn::of([Op::End { nth: 0, status: 200 }], 0));
    let report = |status| Op::Report { job: 7, status, completed: 1 };
    world.play(&Turn::of([Op::Register { job: 7, url: 0, status: None }, report(None)], 1));
    world.play(&Turn::of([Op::Register { job: 8, url: 1, status: Some(Status::Completed) }], 0));
    world
}

#[test]
fn whoever_is_in_a_list_all_the_time_is_seen_once_whenever_a_commit_comes() {
    let commits = [
        // An attempt begins; one ends, and another is to be made; a delivery is superseded, and another comes to be.
        Turn::of([], 1),
        Turn::of([Op::End { nth: 0, status: 500 }], 0),
        Turn::of(
            [Op::Report { job: 7, status: Some(Status::Completed), completed: 2 }, Op::End { nth: 0, status: 200 }],
            0,
        ),
        // Dead letters are on their way, and go.
        Turn::of([Op::Retry(letter(0), false), Op::Retry(letter(1), false), Op::Delete(letter(2))], 9),
        much_later(),
    ];
    let mut world = scene(4);
    let jobs = world.state.jobs().count();
    world.play(&much_later());
    assert!((1..jobs).contains(&world.state.jobs().count()), "some are pruned, some are there still");
    for commit in &commits {
        for List { name, read, model } in lists() {
            for at in 0.. {
                let world = scene(4);
                let before = model(&world.state);
                let reader = world.log.reader();
                let reader = Interrupted { reader, reads: AtomicUsize::new(0), at, world: Mutex::new(world), commit };
                let seen = read(&Views::new(&reader)).unwrap_or_else(|error| panic!("{name}: {error}"));
                let reads = reader.reads.into_inner();
                if reads <= at {
                    break;
                }
                let after = model(&reader.world.into_inner().unwrap().state);
                check_seen(&format!("{name}, {commit:?} at read {at}"), &seen, &before, &after);
            }
        }
    }
}

/// Jobs that are over by now are pruned, and what was before of the others is carried over the log's horizon.
fn much_later() -> Turn {
    Turn { seconds: 40 * 86_400, ..Turn::of([], 0) }
}

/// Somebody else's commit prunes a job, or carries its events, while its history is read.
#[test]
fn a_history_is_whole_or_pruned_whenever_a_commit_comes() {
    let commit = much_later();
    for number in [0, 1, 2, 3, 7, 8] {
        let (mut whole, mut pruned) = (0, 0);
        for at in 0.. {
            let world = scene(4);
            let reader = world.log.reader();
            let known = Views::new(&*reader).job(&job(number)).unwrap().unwrap();
            let expected = Views::new(&*reader).history(&known).unwrap();
            let reader =
                Interrupted { reader, reads: AtomicUsize::new(0), at, world: Mutex::new(world), commit: &commit };
            match Views::new(&reader).history(&known) {
                Ok(history) => {
                    assert_eq!(history, expected);
                    whole += 1;
                }
                Err(LogError::Pruned { horizon }) => {
                    assert_eq!(horizon, reader.reader.anchor().unwrap().horizon);
                    pruned += 1;
                }
                Err(error) => panic!("job {number}, at read {at}: {error}"),
            }
            if reader.reads.into_inner() <= at {
                let world = reader.world.into_inner().unwrap();
                assert!(world.state.job(&job(number)).is_some(), "this time no commit came");
                break;
            }
        }
        assert!(whole > 0, "{whole} {pruned}");
        assert_eq!(pruned > 0, number < 4, "job {number}: {whole} whole, {pruned} pruned");
    }
}

fn check_seen(what: &str, seen: &[u64], before: &[u64], after: &[u64]) {
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "{what}: {seen:?} is not newest first, each once");
    let seen: BTreeSet<_> = seen.iter().collect();
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
    let always: BTreeSet<_> = before.intersection(&after).copied().collect();
    let ever: BTreeSet<_> = before.union(&after).copied().collect();
    assert!(always.is_subset(&seen), "{what}: {always:?} are there all the time, {seen:?} were seen");
    assert!(seen.is_subset(&ever), "{what}: {seen:?} were seen, {ever:?} were there");
}

/// A dead letter's retry succeeds between two reads of a list that asks for neither outcome.
#[test]
fn a_dead_letter_that_is_resolved_meanwhile_is_seen_in_a_list_of_all() {
    let commit = Turn::of([Op::End { nth: 0, status: 200 }], 0);
    for List { name, read, model } in lists().into_iter().filter(|list| list.name.starts_with("LetterFilter")) {
        for at in 0.. {
            let mut world = scene(7);
            world.in_flight.clear();
            world.play(&Turn::of([Op::Retry(1, false)], 9));
            world.in_flight.retain(|(delivery, _)| {
                world.state.delivery(*delivery).is_some_and(|delivery| delivery.dead_letter == Some(DeadLetterId(1)))
            });
            let before = model(&world.state);
            let reader = world.log.reader();
            let reader =
                Interrupted { reader, reads: AtomicUsize::new(0), at, world: Mutex::new(world), commit: &commit };
            let seen = read(&Views::new(&reader)).unwrap();
            if reader.reads.into_inner() <= at {
                break;
            }
            let after = model(&reader.world.into_inner().unwrap().state);
            check_seen(&format!("{name} at read {at}"), &seen, &before, &after);
        }
    }
}
