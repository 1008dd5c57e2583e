//! The system's resolver behind a short cache and a bounded pool of threads.
//!
//! `getaddrinfo` blocks for as long as it likes and can't be interrupted, so it runs on threads of its own and callers
//! wait with a deadline. A name is looked up by one thread at a time, however many ask for it: a name that hangs costs
//! one thread, not one for each attempt.
//!
//! The threads start when there is work, end when there has been none for a while or the pool is dropped, and are not
//! joined: one may be stuck in the C library.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::clock::Stopwatch;

/// How long an answer is used: the system tells no time to live, and a moved destination should be found soon.
const FRESH: Duration = Duration::from_secs(30);

/// Names in the cache: some hundred bytes each.
const MAX_KNOWN: usize = 4096;

/// Threads, so names that can hang at once without holding up others.
const MAX_THREADS: usize = 8;

/// Names waiting for a thread. More would not be looked up within their callers' deadline anyway.
const MAX_QUEUE: usize = 256;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Enough for `getaddrinfo` and what it loads.
const STACK_BYTES: usize = 512 * 1024;

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Answer = Result<Arc<[IpAddr]>, NameError>;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameError {
    /// The resolver's own words.
    Failed(String),
    /// Too many names are waiting for a thread.
    Busy,
    /// No answer in time.
    TimedOut,
}

/// The cache and the pool.
pub(super) struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    look_up: Box<LookUp>,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    known: HashMap<String, Known>,
    pending: HashMap<String, Arc<Pending>>,
    queue: VecDeque<String>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Known {
    addresses: Arc<[IpAddr]>,
    since: Stopwatch,
}

/// One look-up, and all who wait for it.
#[derive(Default)]
struct Pending {
    answer: Mutex<Option<Answer>>,
    done: Condvar,
}

impl Names {
    /// Asks the system.
    pub(super) fn of_the_system() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    /// Asks this function, which may block.
    pub(super) fn new(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let shared = Shared { look_up: Box::new(look_up), state: Mutex::new(State::default()), work: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The addresses of a name, at least one.
    pub(super) fn resolve(&self, name: &str, timeout: Duration) -> Answer {
        let pending = {
            let mut state = self.shared.state.lock();
            if let Some(known) = state.known.get(name).filter(|known| known.since.elapsed() < FRESH) {
                return Ok(Arc::clone(&known.addresses));
            }
            match state.pending.get(name) {
                Some(pending) => Arc::clone(pending),
                None => self.begin(name, &mut state)?,
            }
        };
        pending.wait(timeout)
    }

    /// Queues a look-up, and sees to it that there is a thread for it.
    fn begin(&self, name: &str, state: &mut State) -> Result<Arc<Pending>, NameError> {
        if state.queue.len() >= MAX_QUEUE {
            return Err(NameError::Busy);
        }
        // Those already woken still count as idle, and so do the names that they were woken for.
        if state.queue.len() < state.idle {
            self.shared.work.notify_one();
        } else if state.threads < MAX_THREADS {
            start_thread(&self.shared, state)?;
        }
        let pending = Arc::new(Pending::default());
        state.queue.push_back(name.to_owned());
        state.pending.insert(name.to_owned(), Arc::clone(&pending));
        Ok(pending)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Pending {
    fn wait(&self, timeout: Duration) -> Answer {
        let mut answer = self.answer.lock();
        self.done.wait_while_for(&mut answer, |answer| answer.is_none(), timeout);
        answer.clone().unwrap_or(Err(NameError::TimedOut))
    }
}

impl State {
    fn remember(&mut self, name: &str, addresses: &Arc<[IpAddr]>) {
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| known.since.elapsed() < FRESH);
        }
        if self.known.len() < MAX_KNOWN {
            let known = Known { addresses: Arc::clone(addresses), since: Stopwatch::start() };
            self.known.insert(name.to_owned(), known);
        }
    }
}

fn start_thread(shared: &Arc<Shared>, state: &mut State) -> Result<(), NameError> {
    let worker = Arc::clone(shared);
    let builder = thread::Builder::new().name(format!("hookledger-resolve-{}", state.threads));
    match builder.stack_size(STACK_BYTES).spawn(move || work(&worker)) {
        Ok(_) => state.threads += 1,
        // The others will get to it.
        Err(_) if state.threads > 0 => {}
        Err(error) => return Err(NameError::Failed(format!("no thread for the look-up: {error}"))),
    }
    Ok(())
}

/// A thread's life.
fn work(shared: &Shared) {
    while let Some(name) = next_name(shared) {
        let answer = ask(shared, &name);
        let pending = {
            let mut state = shared.state.lock();
            if let Ok(addresses) = &answer {
                state.remember(&name, addresses);
            }
            state.pending.remove(&name)
        };
        if let Some(pending) = pending {
            *pending.answer.lock() = Some(answer);
            pending.done.notify_all();
        }
    }
}

/// The next name to look up; `None` when the thread is to end, which it has then been counted out for.
fn next_name(shared: &Shared) -> Option<String> {
    let mut state = shared.state.lock();
    loop {
        if let Some(name) = state.queue.pop_front() {
            return Some(name);
        }
        if state.closed || waited_in_vain(shared, &mut state) {
            state.threads -= 1;
            return None;
        }
    }
}

fn waited_in_vain(shared: &Shared, state: &mut MutexGuard<'_, State>) -> bool {
    state.idle += 1;
    let result = shared.work.wait_for(state, IDLE);
    state.idle -= 1;
    result.timed_out() && state.queue.is_empty()
}

/// A panic here would leave everyone who asks for this name waiting, and the pool a thread short.
fn ask(shared: &Shared, name: &str) -> Answer {
    let answer = catch_unwind(AssertUnwindSafe(|| (shared.look_up)(name)));
    match answer.unwrap_or_else(|_| Err(io::Error::other("the look-up panicked"))) {
        Ok(addresses) if addresses.is_empty() => Err(NameError::Failed("the name has no address".into())),
        Ok(addresses) => Ok(without_repetitions(addresses)),
        Err(error) => Err(NameError::Failed(error.to_string())),
    }
}

/// `getaddrinfo` can name one address several times, once for each type of socket.
fn without_repetitions(addresses: Vec<IpAddr>) -> Arc<[IpAddr]> {
    let mut distinct = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct.into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(20);

    fn address() -> IpAddr {
        [192, 0, 2, 1].into()
    }

    /// Look-ups of names that begin with `hang` end when the sender is dropped.
    fn names_that_may_hang() -> (Names, crossbeam_channel::Sender<()>, Arc<AtomicUsize>) {
        let (release, held) = crossbeam_channel::bounded(0);
        let started = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&started);
        let names = Names::new(move |name| {
            counter.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("hang") {
                let _ = held.recv();
            }
            Ok(vec![address(), address()])
        });
        (names, release, started)
    }

    #[test]
    fn an_answer_is_kept_and_repeats_nothing() {
        let (names, _release, started) = names_that_may_hang();
        for _ in 0..5 {
            assert_eq!(names.resolve("a.example", LONG).unwrap()[..], [address()]);
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_is_told_and_not_kept() {
        let answers = Mutex::new(vec![Ok(vec![address()]), Ok(vec![]), Err(io::Error::other("no such name"))]);
        let names = Names::new(move |_| answers.lock().pop().unwrap());
        assert_eq!(names.resolve("a.example", LONG), Err(NameError::Failed("no such name".into())));
        assert_eq!(names.resolve("a.example", LONG), Err(NameError::Failed("the name has no address".into())));
        assert!(names.resolve("a.example", LONG).is_ok());
    }

    #[test]
    fn a_name_that_hangs_takes_one_thread_and_its_callers_give_up() {
        let (names, release, started) = names_that_may_hang();
        for _ in 0..20 {
            assert_eq!(names.resolve("hang.example", SHORT), Err(NameError::TimedOut));
        }
        assert!(names.resolve("quick.example", LONG).is_ok());
        assert_eq!(started.load(Ordering::SeqCst), 2);
        drop(release);
        assert!(names.resolve("hang.example", LONG).is_ok());
    }

    #[test]
    fn threads_and_queue_are_bounded() {
        let (names, release, started) = names_that_may_hang();
        let ask = |n: usize| names.resolve(&format!("hang-{n}"), Duration::ZERO);
        for n in 0..MAX_THREADS {
            assert_eq!(ask(n), Err(NameError::TimedOut));
        }
        while started.load(Ordering::SeqCst) < MAX_THREADS {
            thread::yield_now();
        }
        for n in MAX_THREADS..MAX_THREADS + MAX_QUEUE {
            assert_eq!(ask(n), Err(NameError::TimedOut));
        }
        assert_eq!(ask(MAX_THREADS + MAX_QUEUE), Err(NameError::Busy));
        assert_eq!(names.shared.state.lock().threads, MAX_THREADS);
        assert_eq!(started.load(Ordering::SeqCst), MAX_THREADS);
        drop(release);
        assert!(names.resolve("hang-0", LONG).is_ok());
    }

    #[test]
    fn a_panicking_look_up_is_a_failure() {
        let names = Names::new(|_| panic!("on purpose"));
        for _ in 0..3 {
            assert_eq!(names.resolve("a", LONG), Err(NameError::Failed("the look-up panicked".into())));
        }
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut state = State::default();
        for n in 0..MAX_KNOWN + 10 {
            state.remember(&n.to_string(), &[address()].into());
        }
        assert_eq!(state.known.len(), MAX_KNOWN);
    }

    #[test]
    fn the_system_knows_localhost() {
        let addresses = Names::of_the_system().resolve("localhost", LONG).unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback));
    }
}
