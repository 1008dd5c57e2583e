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

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock};
use crate::dispatch::{Ended, Workers};
use crate::domain::command::Command;
use crate::domain::id::{DeliveryId, Seq};
use crate::domain::outcome::FailureKind;
use crate::engine::{Engine, EngineError, Input, Settings, Step, Ticket};
use crate::log::EventLog;
use crate::transport::Transport;

mod handle;

pub use handle::{Error, Handle, Reply};
use handle::{Health, Message};

/// Inputs of one step, at most: the commit stays at a few hundred kilobytes, and a reply is not kept waiting by those
/// behind it.
const INPUTS_PER_STEP: usize = 512;

/// The longest sleep, so that a clock that was set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How long interrupted attempts may take to end.
const INTERRUPTED: Duration = Duration::from_secs(2);

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
    /// How long attempts in flight may take to end at shutdown.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { engine: Settings::default(), workers: 256, queue: 4096, grace: Duration::from_secs(10) }
    }
}

/// A running engine. Dropping it shuts it down.
pub struct Runtime {
    handle: Handle,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
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
        let engine = Engine::open(log, options.engine.clone(), entropy, clock.now())?;
        let (tail, tail_out) = watch::channel(engine.tail());
        let (commands, commands_in) = bounded(options.queue);
        let (stop, stop_in) = bounded(1);
        let health = Arc::new(Mutex::new(Health::Serving));
        let handle = Handle::new(commands, engine.reader(), Arc::clone(&health), tail_out);
        let (workers, ended) = Workers::new(options.workers, transport, Arc::clone(&clock) as Arc<dyn Clock>);
        let owned = EngineThread {
            engine,
            failed: None,
            workers,
            clock,
            commands: commands_in,
            ended,
            stop: stop_in,
            health,
            tail,
            replies: HashMap::new(),
            tickets: 0,
            grace: options.grace,
        };
        let named = Builder::new().name("engine".into());
        let thread =
            named.spawn(move || owned.run_guarded()).map_err(|error| no("no thread for the engine", &error))?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The way in.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends it: commands that were accepted are carried out, no new attempts begin, those in flight may take
    /// [`Options::grace`], and what they came to is recorded.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the engine's thread panicked");
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
    ended: Receiver<Ended>,
    stop: Receiver<()>,
    health: Arc<Mutex<Health>>,
    tail: watch::Sender<Seq>,
    replies: HashMap<Ticket, handle::Sender>,
    tickets: u64,
    grace: Duration,
}

/// What the engine's thread woke up for.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Woken {
    Command(Message),
    Ended(Ended),
    Time,
    Stop,
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
                Woken::Time => {}
                Woken::Stop => break,
            }
            self.gather(&mut inputs);
            self.step(inputs, self.workers.slots());
        }
        self.drain();
    }

    fn wait(&self) -> Woken {
        let can_start = self.failed.is_none() && self.engine.has_ready() && self.workers.slots() > 0;
        let now = self.clock.now();
        let sleep = match self.engine.next_wake().filter(|_| self.failed.is_none()) {
            _ if can_start => Duration::ZERO,
            Some(wake) => wake.since(now).min(LONGEST_SLEEP),
            None => LONGEST_SLEEP,
        };
        select! {
            recv(self.ended) -> ended => ended.map_or(Woken::Time, Woken::Ended),
            recv(self.commands) -> message => message.map_or(Woken::Stop, Woken::Command),
            recv(self.stop) -> _ => Woken::Stop,
            default(sleep) => Woken::Time,
        }
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
        Input::of(Command::RecordOutcome { delivery, attempt, outcome })
    }

    fn admit(&mut self, message: Message) -> Option<Input> {
        let Message { command, secret, when, reply } = message;
        if let Some(why) = &self.failed {
            reply.give(Err(Error::Failing(why.clone())));
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.replies.insert(ticket, reply);
        Some(Input { command, secret, reply: Some((ticket, when)) })
    }

    fn step(&mut self, inputs: Vec<Input>, slots: usize) {
        if self.failed.is_some() {
            return;
        }
        match self.engine.step(self.clock.now(), inputs, slots) {
            Ok(Step { replies, attempts, tail }) => {
                self.tail.send_if_modified(|known| std::mem::replace(known, tail) != tail);
                for attempt in attempts {
                    self.workers.submit(attempt);
                }
                for (ticket, reply) in replies {
                    if let Some(waiting) = self.replies.remove(&ticket) {
                        waiting.give(reply.map_err(Error::Rejected));
                    }
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// The state is ahead of the log: nothing is accepted any more, and everybody who waits is told.
    fn fail(&mut self, error: &EngineError) {
        tracing::error!(%error, "storage failed; nothing is accepted until a restart");
        let why = format!("storage failed: {error}");
        *self.health.lock() = Health::Failing(why.clone());
        for (_, reply) in self.replies.drain() {
            reply.give(Err(Error::Failing(why.clone())));
        }
        self.failed = Some(why);
    }

    fn drain(mut self) {
        {
            let mut health = self.health.lock();
            if *health == Health::Serving {
                *health = Health::Stopping;
            }
        }
        while let Ok(message) = self.commands.try_recv() {
            let mut inputs: Vec<Input> = self.admit(message).into_iter().collect();
            self.gather(&mut inputs);
            self.step(inputs, 0);
        }
        self.await_outcomes(self.grace, Self::outcome);
        if self.workers.in_flight() > 0 {
            self.workers.interrupt();
            self.await_outcomes(INTERRUPTED, Self::outcome_unless_interrupted);
        }
        let interrupted: Vec<_> = self.engine.in_flight().map(interruption).collect();
        self.step(interrupted, 0);
        let Self { engine, workers, .. } = self;
        drop(engine);
        match workers.in_flight() {
            0 => workers.join().iter().for_each(|name| tracing::error!(thread = name, "a thread panicked")),
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
            self.step(inputs, 0);
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
