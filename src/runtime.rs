//! The engine at work: its thread, the workers, and the handle that a host program or the HTTP server holds.
//!
//! ```text
//! handles ── commands (bounded) ──▶ ┌────────────────┐ ── attempts (bounded) ──▶ workers
//!    ▲                              │ engine thread  │                              │
//!    └───── reply, after the ────── │ step by step   │ ◀── outcomes (bounded) ──────┘
//!           commit                  └────────────────┘
//! ```
//!
//! While one commit is on its way to the disk, the next one's inputs gather in the channels: that is the group commit,
//! and it needs no waiting of its own.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::dispatch::{Ended, Workers};
use crate::domain::command::Command;
use crate::domain::id::{DeadLetterId, DeliveryId, Seq};
use crate::domain::outcome::FailureKind;
use crate::engine::{Asked, Engine, EngineError, Input, Settings, Step};
use crate::log::EventLog;
use crate::meter::Meter;
use crate::schedule::Backlog;
use crate::transport::Transport;
use crate::views::Views;

mod handle;
mod metered;
mod question;
mod recall;
mod replies;

pub use crate::engine::{Answer, Confidential, Keep, Rendered, Retried};
pub use crate::schedule::{Condition, WaitsFor};
pub use handle::{Error, Handle, Kept, Reply};
use handle::{Health, Message};
use metered::Metered;
use question::Question;
pub use question::Waits;
use replies::Replies;

/// Inputs of one step, at most: the commit stays at a few hundred kilobytes, and a reply is not kept waiting by those
/// behind it.
const INPUTS_PER_STEP: usize = 512;

/// The longest sleep, so that a clock that was set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How often it is looked at what waits, while that changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long interrupted attempts may take to end: beyond the grace, and within the ten seconds after which a container
/// runtime kills.
const INTERRUPTED: Duration = Duration::from_secs(1);

/// Orders that have not been read yet, at most: several of the first kind say no more than one.
const ORDERS: usize = 2;

/// How the engine is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the engine is configured with.
    pub engine: Settings,
    /// Attempts in flight at most, over all destinations, and so threads.
    pub workers: usize,
    /// Commands that wait for the engine, at most, and at least 1. Beyond that a client is told to come back. The default
    /// is half a second's work at several thousand a second.
    pub queue: usize,
    /// How long attempts in flight may take to end at shutdown; then they are interrupted, which takes a second at most.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { engine: Settings::default(), workers: 256, queue: 4096, grace: Duration::from_secs(8) }
    }
}

/// What the engine's thread is told beside commands. When nobody can tell it anything any more, it ends.
enum Order {
    StartNoAttempts,
    End { grace: Duration },
}

/// A running engine. Dropping it shuts it down.
pub struct Runtime {
    handle: Handle,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    recalling: Option<JoinHandle<()>>,
    /// Dropped to end it.
    recalls: Option<Sender<()>>,
}

impl Runtime {
    /// Opens an engine on `log` and starts it.
    ///
    /// # Errors
    /// When the log can't be read or written, or the machine gives no thread or no randomness.
    pub fn start(
        log: Box<dyn EventLog>,
        transport: Arc<dyn Transport>,
        options: &Options,
    ) -> Result<Self, EngineError> {
        let clock = Arc::new(SystemClock);
        let mut entropy = [0; 32];
        let no = |what: &str, why: &dyn fmt::Display| EngineError::Log(crate::log::LogError::io(what, why));
        getrandom::fill(&mut entropy).map_err(|error| no("the machine gives no random bytes", &error))?;
        let meter = Arc::new(Meter::new());
        let log = Box::new(Metered::new(log, Arc::clone(&meter)));
        let engine = Engine::open(log, options.engine.clone(), entropy, clock.now())?;
        meter.stands(&engine.totals(), engine.horizon(), engine.tail());
        let (tail, tail_out) = watch::channel(engine.tail());
        let (commands, commands_in) = bounded(options.queue);
        let (orders, orders_in) = bounded(ORDERS);
        let health = Arc::new(Mutex::new(Health::Serving));
        let (questions, questions_in) = question::channel();
        let (reader, told) = (engine.reader(), Arc::clone(&health));
        let handle = Handle::new(commands, questions, reader, told, tail_out, Arc::clone(&meter));
        let (workers, ended) = Workers::new(options.workers, transport, Arc::clone(&clock) as Arc<dyn Clock>);
        let (recalls, stopped) = bounded(1);
        let recalling = {
            let (reader, meter) = (engine.reader(), Arc::clone(&meter));
            let (tail, now) = (engine.tail(), clock.now());
            let named = Builder::new().name("statistics".into());
            named.spawn(move || recall::recall(&reader, &meter, tail, now, &stopped))
        };
        let recalling = recalling.map_err(|error| no("no thread for the statistics", &error))?;
        let owned = EngineThread {
            engine,
            failed: None,
            workers,
            clock,
            commands: commands_in,
            questions: questions_in,
            ended,
            orders: orders_in,
            health,
            tail,
            meter,
            looked: Stopwatch::start(),
            unseen: true,
            replies: Replies::default(),
            starts_attempts: true,
            grace: options.grace,
        };
        let named = Builder::new().name("engine".into());
        let thread =
            named.spawn(move || owned.run_guarded()).map_err(|error| no("no thread for the engine", &error))?;
        Ok(Self {
            handle,
            orders: Some(orders),
            thread: Some(thread),
            recalling: Some(recalling),
            recalls: Some(recalls),
        })
    }

    /// The way in.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The first half of an end in good order: from here on no attempt begins. Commands are taken still, so that whoever is
    /// asking can be served; a retry that was to be waited for is told [`Error::Stopping`]. Attempts in flight go on.
    pub fn start_no_attempts(&self) {
        if let Some(orders) = &self.orders {
            // When the queue is full, the same order is in it.
            let _ = orders.try_send(Order::StartNoAttempts);
        }
    }

    /// Ends it: commands that were accepted are carried out, no new attempts begin, those in flight may take
    /// [`Options::grace`], and what they came to is recorded.
    pub fn shutdown(mut self) {
        self.end();
    }

    /// [`shutdown`](Self::shutdown) with another time for attempts in flight: what a host has left of its own.
    pub fn shutdown_within(mut self, grace: Duration) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::End { grace });
        }
        self.end();
    }

    fn end(&mut self) {
        drop(self.orders.take());
        drop(self.recalls.take());
        if self.recalling.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(thread = "statistics", "a thread has panicked");
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(thread = "engine", "a thread has panicked");
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the engine's thread owns.
struct EngineThread {
    engine: Engine,
    /// Why nothing can be written any more, once that is so.
    failed: Option<String>,
    workers: Workers,
    clock: Arc<SystemClock>,
    commands: Receiver<Message>,
    questions: Receiver<Question>,
    ended: Receiver<Ended>,
    orders: Receiver<Order>,
    health: Arc<Mutex<Health>>,
    tail: watch::Sender<Seq>,
    meter: Arc<Meter>,
    /// Since it was last looked at what waits, and whether anything has changed after that.
    looked: Stopwatch,
    unseen: bool,
    replies: Replies,
    /// Whether attempts are begun; false once the end has been announced.
    starts_attempts: bool,
    grace: Duration,
}

/// What the engine's thread woke up for.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Woken {
    Command(Message),
    Question(Question),
    Ended(Ended),
    Time,
    Order(Order),
}

impl EngineThread {
    /// A panic in here is a fault of this program. Whoever asks is told, and the log says what was done.
    fn run_guarded(self) {
        let health = Arc::clone(&self.health);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            *health.lock() =
                Health::Failing("The engine has stopped at a fault of its own; restart the server.".into());
            resume_unwind(panic);
        }
    }

    fn run(mut self) {
        loop {
            let mut inputs = Vec::new();
            match self.wait() {
                Woken::Command(message) => inputs.extend(self.admit(message)),
                Woken::Ended(ended) => inputs.push(self.outcome(ended)),
                Woken::Question(question) if self.failed.is_none() => {
                    question.answer(&self.engine, self.clock.now());
                }
                // The state is ahead of the log: nobody is to be told of it.
                Woken::Question(question) => drop(question),
                Woken::Time => {}
                Woken::Order(Order::StartNoAttempts) => self.starts_attempts = false,
                Woken::Order(Order::End { grace }) => return self.drain(grace),
            }
            self.gather(&mut inputs);
            self.step(inputs);
            self.look();
        }
    }

    /// Tells the meter what waits, now and then: it is a look into every lane.
    fn look(&mut self) {
        if !self.unseen || self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        (self.looked, self.unseen) = (Stopwatch::start(), false);
        let Backlog { waiting, ready, in_flight } = self.engine.backlog();
        let commands = self.commands.len();
        let queues = [("commands", commands), ("waiting", waiting), ("ready", ready), ("in_flight", in_flight)];
        self.meter.waits(queues, self.engine.oldest_ready());
    }

    fn wait(&self) -> Woken {
        let can_start = self.failed.is_none() && self.engine.has_ready() && self.slots() > 0;
        let now = self.clock.now();
        let sleep = match self.engine.next_wake().filter(|_| self.failed.is_none()) {
            _ if can_start => Duration::ZERO,
            Some(wake) => wake.since(now).min(LONGEST_SLEEP),
            None => LONGEST_SLEEP,
        };
        let sleep = if self.unseen { sleep.min(LOOK_EVERY) } else { sleep };
        let end = Woken::Order(Order::End { grace: self.grace });
        select! {
            recv(self.ended) -> ended => ended.map_or(Woken::Time, Woken::Ended),
            recv(self.commands) -> message => message.map_or(end, Woken::Command),
            recv(self.questions) -> question => question.map_or(end, Woken::Question),
            recv(self.orders) -> order => order.map_or(end, Woken::Order),
            default(sleep) => Woken::Time,
        }
    }

    /// How many attempts may begin.
    fn slots(&self) -> usize {
        if self.starts_attempts { self.workers.slots() } else { 0 }
    }

    /// What else has come in meanwhile. Outcomes go first: each of them makes room for another attempt.
    fn gather(&mut self, inputs: &mut Vec<Input>) {
        while inputs.len() < INPUTS_PER_STEP {
            let Ok(ended) = self.ended.try_recv() else { break };
            inputs.push(self.outcome(ended));
        }
        while inputs.len() < INPUTS_PER_STEP {
            let Ok(message) = self.commands.try_recv() else { break };
            inputs.extend(self.admit(message));
        }
    }

    fn outcome(&mut self, ended: Ended) -> Input {
        self.workers.received();
        let Ended { delivery, attempt, outcome } = ended;
        self.meter.attempted(&outcome);
        Input::of(Command::RecordOutcome { delivery, attempt, outcome })
    }

    fn admit(&mut self, message: Message) -> Option<Input> {
        let Message { command, confidential, when, keep, reply } = message;
        if let Some(why) = &self.failed {
            reply.give(Err(Error::Failing(why.clone())));
            return None;
        }
        let ticket = self.replies.owe(reply, &command, when);
        Some(Input { command, confidential, asked: Some(Asked { ticket, when, keep }) })
    }

    fn step(&mut self, inputs: Vec<Input>) {
        if self.failed.is_some() {
            return;
        }
        match self.engine.step(self.clock.now(), inputs, self.slots()) {
            Ok(Step { replies, attempts, tail, observations }) => {
                self.meter.observed(&observations);
                self.meter.stands(&self.engine.totals(), self.engine.horizon(), tail);
                self.unseen |= self.tail.send_if_modified(|known| std::mem::replace(known, tail) != tail);
                for attempt in attempts {
                    self.workers.submit(attempt);
                }
                for (ticket, reply) in replies {
                    self.replies.give(ticket, reply.map_err(Error::Rejected));
                }
                self.release();
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Whoever waits for an attempt that does not begin any more is told so.
    fn release(&mut self) {
        if self.starts_attempts || !self.replies.wait_for_attempts() {
            return;
        }
        let in_flight: HashSet<DeliveryId> = self.engine.in_flight().collect();
        let reader = self.engine.reader();
        let delivery =
            |letter: DeadLetterId| Views::new(&*reader).dead_letter(letter).ok()?.map(|letter| letter.delivery);
        self.replies.release(|letter| delivery(letter).is_some_and(|delivery| in_flight.contains(&delivery)));
    }

    /// The state is ahead of the log: nothing is accepted any more, and everybody who waits is told.
    fn fail(&mut self, error: &EngineError) {
        tracing::error!(%error, "storage failed; nothing is accepted until a restart");
        let why = format!("storage failed: {error}");
        *self.health.lock() = Health::Failing(why.clone());
        self.replies.give_up(&Error::Failing(why.clone()));
        self.failed = Some(why);
    }

    fn drain(mut self, grace: Duration) {
        self.starts_attempts = false;
        {
            let mut health = self.health.lock();
            if *health == Health::Serving {
                *health = Health::Stopping;
            }
        }
        while let Ok(message) = self.commands.try_recv() {
            let mut inputs: Vec<Input> = self.admit(message).into_iter().collect();
            self.gather(&mut inputs);
            self.step(inputs);
        }
        self.release();
        if self.workers.in_flight() > 0 {
            let in_flight = self.workers.in_flight();
            tracing::info!(in_flight, ?grace, "waiting for attempts in flight");
        }
        self.await_outcomes(grace, Self::outcome);
        if self.workers.in_flight() > 0 {
            tracing::warn!(
                left = self.workers.in_flight(),
                "interrupting attempts: they are made again at the next start"
            );
            self.workers.interrupt();
            self.await_outcomes(INTERRUPTED, Self::outcome_unless_interrupted);
        }
        let interrupted: Vec<_> = self.engine.in_flight().map(interruption).collect();
        self.step(interrupted);
        let Self { engine, workers, .. } = self;
        tracing::info!(tail = engine.tail().0, "the log is closed");
        drop(engine);
        match workers.in_flight() {
            0 => workers.join().iter().for_each(|name| tracing::error!(thread = name, "a thread has panicked")),
            left => tracing::warn!(left, "attempts that could not be interrupted are left behind"),
        }
    }

    fn await_outcomes(&mut self, at_most: Duration, read: impl Fn(&mut Self, Ended) -> Input) {
        let deadline = crossbeam_channel::after(at_most);
        while self.workers.in_flight() > 0 {
            let ended = select! {
                recv(self.ended) -> ended => ended,
                recv(deadline) -> _ => return,
            };
            let mut inputs: Vec<_> = ended.into_iter().map(|ended| read(self, ended)).collect();
            while let Ok(ended) = self.ended.try_recv() {
                inputs.push(read(self, ended));
            }
            self.step(inputs);
        }
    }

    /// An attempt that our own interruption ended says nothing of the receiver.
    fn outcome_unless_interrupted(&mut self, ended: Ended) -> Input {
        match &ended.outcome.result {
            Err(failure) if failure.kind == FailureKind::Internal => {
                self.workers.received();
                interruption(ended.delivery)
            }
            _ => self.outcome(ended),
        }
    }
}

/// An attempt that the end of the process cuts off, in good order.
const fn interruption(delivery: DeliveryId) -> Input {
    Input::of(Command::RecordInterruption { delivery, crashed: false })
}
