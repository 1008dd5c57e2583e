//! Worker threads that make attempts. They decide nothing: an attempt comes in, its outcome goes out.
//!
//! The pool grows with need up to its bound, and workers that find nothing to do for a while end. Both channels hold as
//! many entries as there can be attempts in flight, so neither side ever blocks on the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::attempt::Attempt;
use crate::clock::{Clock, Stopwatch};
use crate::domain::id::DeliveryId;
use crate::domain::outcome::{Failure, FailureKind, Outcome};
use crate::transport::Transport;

/// How long a worker waits for something to do before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Attempts are shallow and keep their buffers on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// An attempt's outcome, on its way back.
#[derive(Debug)]
pub struct Ended {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Which attempt.
    pub attempt: u32,
    /// What it came to.
    pub outcome: Outcome,
}

/// The pool. See the [module](self).
pub struct Workers {
    attempts: Sender<Attempt>,
    bench: Bench,
    threads: Vec<JoinHandle<()>>,
    spawned: usize,
    in_flight: usize,
    max: usize,
}

/// What every worker shares.
#[derive(Clone)]
struct Bench {
    attempts: Receiver<Attempt>,
    ended: Sender<Ended>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    alive: Arc<AtomicUsize>,
}

impl Workers {
    /// A pool of at most `max` threads, and where the outcomes come out.
    #[must_use]
    pub fn new(max: usize, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> (Self, Receiver<Ended>) {
        let max = max.max(1);
        let (attempts, attempts_in) = bounded(max);
        let (ended, ended_in) = bounded(max);
        let alive = Arc::new(AtomicUsize::new(0));
        let bench = Bench { attempts: attempts_in, ended, transport, clock, alive };
        (Self { attempts, bench, threads: Vec::new(), spawned: 0, in_flight: 0, max }, ended_in)
    }

    /// How many more attempts may be submitted.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.max - self.in_flight
    }

    /// How many attempts are in flight.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Has an attempt made. There must be a slot for it.
    pub fn submit(&mut self, attempt: Attempt) {
        debug_assert!(self.slots() > 0, "the engine starts no more attempts than there are slots");
        self.in_flight += 1;
        let delivery = attempt.delivery;
        if self.attempts.try_send(attempt).is_err() {
            tracing::error!(delivery_id = %delivery, "an attempt found no place in the queue; it is made after a restart");
        }
        // First the send, then this look: a worker that is about to end looks at the queue after it has counted itself out.
        if self.bench.alive.load(Ordering::SeqCst) < self.in_flight {
            self.grow();
        }
    }

    /// Notes that an outcome was received.
    pub const fn received(&mut self) {
        self.in_flight -= 1;
    }

    fn grow(&mut self) {
        self.threads.retain(|thread| !thread.is_finished());
        self.spawned += 1;
        self.bench.alive.fetch_add(1, Ordering::SeqCst);
        let bench = self.bench.clone();
        let named = Builder::new().name(format!("worker-{}", self.spawned)).stack_size(STACK_BYTES);
        match named.spawn(move || bench.work()) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                tracing::error!(%error, "no thread for an attempt could be started");
                let others = self.bench.alive.fetch_sub(1, Ordering::SeqCst) - 1;
                // With other threads alive it waits for one of them; with none it would wait for ever.
                let stranded = if others == 0 { self.bench.attempts.try_recv().ok() } else { None };
                if let Some(attempt) = stranded {
                    self.bench.end(&attempt, failed(0, "no thread could be started for it"));
                }
            }
        }
    }

    /// Interrupts what is in flight.
    pub fn interrupt(&self) {
        self.bench.transport.shutdown();
    }

    /// Ends the pool: workers finish what they are at. Gives the names of the threads that panicked.
    pub fn join(self) -> Vec<String> {
        let Self { attempts, bench, threads, .. } = self;
        drop((attempts, bench));
        let name = |thread: &JoinHandle<()>| thread.thread().name().unwrap_or_default().to_owned();
        let named = threads.into_iter().map(|thread| (name(&thread), thread));
        named.filter_map(|(name, thread)| thread.join().err().map(|_| name)).collect()
    }
}

impl Bench {
    fn work(self) {
        loop {
            match self.attempts.recv_timeout(IDLE) {
                Ok(attempt) => self.make(&attempt),
                Err(_) => {
                    self.alive.fetch_sub(1, Ordering::SeqCst);
                    // The last look, for an attempt that was submitted while this worker still counted as alive.
                    let Ok(attempt) = self.attempts.try_recv() else { return };
                    self.alive.fetch_add(1, Ordering::SeqCst);
                    self.make(&attempt);
                }
            }
        }
    }

    fn make(&self, attempt: &Attempt) {
        let watch = Stopwatch::start();
        let send = || self.transport.send(&attempt.request(self.clock.now()));
        let outcome = catch_unwind(AssertUnwindSafe(send)).unwrap_or_else(|_| {
            tracing::error!(delivery_id = %attempt.delivery, attempt = attempt.number, "an attempt has panicked");
            let duration_ms = u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX);
            failed(duration_ms, "the attempt panicked; see the server's log")
        });
        self.end(attempt, attempt.concealed(outcome));
    }

    fn end(&self, attempt: &Attempt, outcome: Outcome) {
        let ended = Ended { delivery: attempt.delivery, attempt: attempt.number, outcome };
        if self.ended.send(ended).is_err() {
            tracing::warn!(delivery_id = %attempt.delivery, "an outcome came after the end; the attempt is repeated after a restart");
        }
    }
}

/// An attempt that failed here, not at the receiver.
fn failed(duration_ms: u32, detail: &str) -> Outcome {
    Outcome { duration_ms, result: Err(Failure { kind: FailureKind::Internal, detail: detail.into() }) }
}
