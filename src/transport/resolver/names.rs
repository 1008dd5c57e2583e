//! The system's resolver behind a short cache and a bounded pool of threads.
//!
//! `getaddrinfo` blocks for as long as it likes and can't be interrupted, so it runs on threads of its own and callers
//! wait with a deadline. A name is looked up by one thread at a time, however many ask for it: a name that hangs costs
//! one thread, not one for each attempt.
//!
//! Names that hang come in numbers, when a DNS provider fails, and others' deliveries must go on then. So an answer is
//! kept for longer than it counts as fresh, and used when no newer one comes in time (as RFC 8767 has it). And names that
//! have answered are looked up by other threads than those that have not, so that neither wait for the other's:
//!
//! ```text
//!                ┌─ fresh ───────────────────────────────────▶ the known addresses
//! resolve(name) ─┼─ known ─▶ a look-up among Lane::Again ────▶ the new ones, or after a moment the known ones
//!                └─ unknown ▶ a look-up among Lane::First ───▶ the new ones, or a failure
//! ```
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

/// How long an answer is good for.
#[derive(Clone, Copy)]
struct Ages {
    /// Used without asking again: the system tells no time to live, and a moved destination should be found soon.
    fresh: Duration,
    /// Used when there is no newer one in time.
    usable: Duration,
    /// How long a newer one may take. What a name that hangs costs its callers, once for each look-up.
    grace: Duration,
}

const AGES: Ages =
    Ages { fresh: Duration::from_secs(30), usable: Duration::from_hours(1), grace: Duration::from_secs(1) };

/// Names in the cache: some hundred bytes each.
const MAX_KNOWN: usize = 4096;

/// Threads of each lane, so names that can hang at once without holding up others of it.
const MAX_THREADS: usize = 8;

/// Names waiting for a thread of one lane. More would not be looked up within their callers' deadline anyway.
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
    /// The look-up was not made, for want of a thread; in words. It says nothing of the name.
    NoThread(String),
    /// No answer in time.
    TimedOut,
}

/// The cache and the pool.
pub(super) struct Names {
    shared: Arc<Shared>,
}

struct Shared {
    look_up: Box<LookUp>,
    ages: Ages,
    state: Mutex<State>,
    /// Of each lane.
    work: [Condvar; 2],
}

#[derive(Default)]
struct State {
    known: HashMap<String, Known>,
    pending: HashMap<String, Arc<Pending>>,
    /// Of each lane.
    crews: [Crew; 2],
    closed: bool,
}

struct Known {
    addresses: Arc<[IpAddr]>,
    since: Stopwatch,
}

/// Which threads look a name up.
#[derive(Clone, Copy)]
enum Lane {
    /// Those for names without a known address.
    First,
    /// Those for names that have answered before.
    Again,
}

/// The threads of one lane, and the names that wait for them.
#[derive(Default)]
struct Crew {
    queue: VecDeque<(String, Arc<Pending>)>,
    threads: usize,
    idle: usize,
}

/// One look-up, and all who wait for it.
struct Pending {
    progress: Mutex<Progress>,
    done: Condvar,
    since: Stopwatch,
}

enum Progress {
    Queued,
    Begun,
    Ended(Answer),
}

impl Names {
    /// Asks the system.
    pub(super) fn of_the_system() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    /// Asks this function, which may block.
    pub(super) fn new(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self::aged(AGES, look_up)
    }

    fn aged(ages: Ages, look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let shared = Shared { look_up: Box::new(look_up), ages, state: Mutex::default(), work: Default::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The addresses of a name, at least one.
    ///
    /// A failed look-up is told also where older addresses are known: the name may have been given up.
    pub(super) fn resolve(&self, name: &str, timeout: Duration) -> Answer {
        let Ages { fresh, usable, grace } = self.shared.ages;
        let (pending, old) = {
            let mut state = self.shared.state.lock();
            let known = state.known.get(name).map(|known| (known.since.elapsed(), Arc::clone(&known.addresses)));
            let old = match known {
                Some((age, addresses)) if age < fresh => return Ok(addresses),
                known => known.filter(|(age, _)| *age < usable).map(|(_, addresses)| addresses),
            };
            let lane = if old.is_some() { Lane::Again } else { Lane::First };
            let pending = state.pending.get(name).map(Arc::clone);
            (pending.map_or_else(|| self.begin(name, lane, &mut state), Ok), old)
        };
        let Some(old) = old else { return pending?.wait(timeout) };
        match pending.and_then(|pending| pending.wait(timeout.min(grace.saturating_sub(pending.since.elapsed())))) {
            Err(NameError::TimedOut | NameError::NoThread(_)) => Ok(old),
            answer => answer,
        }
    }

    /// Queues a look-up, and sees to it that there is a thread for it.
    fn begin(&self, name: &str, lane: Lane, state: &mut State) -> Result<Arc<Pending>, NameError> {
        let crew = &mut state.crews[lane as usize];
        if crew.queue.len() >= MAX_QUEUE {
            return Err(NameError::NoThread("too many names are waiting to be looked up".into()));
        }
        // Those already woken still count as idle, and so do the names that they were woken for.
        if crew.queue.len() < crew.idle {
            self.shared.work[lane as usize].notify_one();
        } else if crew.threads < MAX_THREADS {
            start_thread(&self.shared, lane, crew)?;
        }
        let pending = Arc::new(Pending::new());
        crew.queue.push_back((name.to_owned(), Arc::clone(&pending)));
        state.pending.insert(name.to_owned(), Arc::clone(&pending));
        Ok(pending)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        for work in &self.shared.work {
            work.notify_all();
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Pending {
    fn new() -> Self {
        Self { progress: Mutex::new(Progress::Queued), done: Condvar::new(), since: Stopwatch::start() }
    }

    fn wait(&self, timeout: Duration) -> Answer {
        let mut progress = self.progress.lock();
        self.done.wait_while_for(&mut progress, |progress| !matches!(progress, Progress::Ended(_)), timeout);
        match &*progress {
            Progress::Queued => Err(NameError::NoThread("no thread was free to look the name up in time".into())),
            Progress::Begun => Err(NameError::TimedOut),
            Progress::Ended(answer) => answer.clone(),
        }
    }
}

impl State {
    /// Keeps an answer, in the place of the oldest one where there is no other.
    fn remember(&mut self, name: &str, addresses: &Arc<[IpAddr]>) {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(name) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.since);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.known.remove(&oldest);
            }
        }
        let known = Known { addresses: Arc::clone(addresses), since: Stopwatch::start() };
        self.known.insert(name.to_owned(), known);
    }
}

fn start_thread(shared: &Arc<Shared>, lane: Lane, crew: &mut Crew) -> Result<(), NameError> {
    let worker = Arc::clone(shared);
    let builder = thread::Builder::new().name(format!("hookledger-resolve-{}", crew.threads));
    match builder.stack_size(STACK_BYTES).spawn(move || work(&worker, lane)) {
        Ok(_) => crew.threads += 1,
        // The others will get to it.
        Err(_) if crew.threads > 0 => {}
        Err(error) => return Err(NameError::NoThread(format!("no thread for the look-up: {error}"))),
    }
    Ok(())
}

/// A thread's life.
fn work(shared: &Shared, lane: Lane) {
    while let Some((name, pending)) = next_name(shared, lane) {
        *pending.progress.lock() = Progress::Begun;
        let answer = ask(shared, &name);
        {
            let mut state = shared.state.lock();
            if let Ok(addresses) = &answer {
                state.remember(&name, addresses);
            }
            state.pending.remove(&name);
        }
        *pending.progress.lock() = Progress::Ended(answer);
        pending.done.notify_all();
    }
}

/// The next name to look up; `None` when the thread is to end, which it has then been counted out for.
fn next_name(shared: &Shared, lane: Lane) -> Option<(String, Arc<Pending>)> {
    let mut state = shared.state.lock();
    loop {
        if let Some(next) = state.crews[lane as usize].queue.pop_front() {
            return Some(next);
        }
        if state.closed || waited_in_vain(shared, lane, &mut state) {
            state.crews[lane as usize].threads -= 1;
            return None;
        }
    }
}

fn waited_in_vain(shared: &Shared, lane: Lane, state: &mut MutexGuard<'_, State>) -> bool {
    state.crews[lane as usize].idle += 1;
    let result = shared.work[lane as usize].wait_for(state, IDLE);
    let crew = &mut state.crews[lane as usize];
    crew.idle -= 1;
    result.timed_out() && crew.queue.is_empty()
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
    use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(20);

    fn address() -> IpAddr {
        [192, 0, 2, 1].into()
    }

    fn no_thread(why: &str) -> Answer {
        Err(NameError::NoThread(why.into()))
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
        assert!(names.resolve("hang.example", SHORT).is_err());
        while started.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
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
            assert!(ask(n).is_err());
        }
        while started.load(Ordering::SeqCst) < MAX_THREADS {
            thread::yield_now();
        }
        for n in MAX_THREADS..MAX_THREADS + MAX_QUEUE {
            assert_eq!(ask(n), no_thread("no thread was free to look the name up in time"));
        }
        assert_eq!(ask(MAX_THREADS + MAX_QUEUE), no_thread("too many names are waiting to be looked up"));
        assert_eq!(names.shared.state.lock().crews[Lane::First as usize].threads, MAX_THREADS);
        assert_eq!(started.load(Ordering::SeqCst), MAX_THREADS);
        drop(release);
        assert!(names.resolve("hang-0", LONG).is_ok());
    }

    #[test]
    fn names_that_have_answered_go_on_while_others_hang() {
        let failing = Arc::new(AtomicBool::new(false));
        let (release, held) = crossbeam_channel::bounded::<()>(0);
        let (fails, newest) = (Arc::clone(&failing), Arc::new(AtomicU8::new(1)));
        let last = Arc::clone(&newest);
        let names = Names::aged(Ages { fresh: Duration::ZERO, grace: LONG, ..AGES }, move |name| {
            if name.starts_with("new") || name.starts_with("provider") && fails.load(Ordering::SeqCst) {
                let _ = held.recv();
            }
            Ok(vec![[192, 0, 2, last.load(Ordering::SeqCst)].into()])
        });
        let resolve = |name: &str, timeout| names.resolve(name, timeout).map(|addresses| addresses[0]);
        let customers: Vec<_> = (0..=MAX_THREADS + MAX_QUEUE).map(|n| format!("provider-{n}")).collect();
        let all = customers.iter().map(|name| &**name).chain(["healthy"]);
        assert!(all.clone().all(|name| resolve(name, LONG) == Ok(address())));
        failing.store(true, Ordering::SeqCst);
        for n in 0..2 * MAX_THREADS {
            assert!(resolve(&format!("new-{n}"), Duration::ZERO).is_err());
        }
        newest.store(2, Ordering::SeqCst);
        assert_eq!(
            resolve("healthy", LONG),
            Ok([192, 0, 2, 2].into()),
            "it does not wait for names that never answered"
        );
        for name in all {
            assert!(resolve(name, Duration::ZERO).is_ok(), "{name}: the known address is used");
        }
        assert_eq!(resolve("healthy", Duration::ZERO), Ok([192, 0, 2, 2].into()), "also when there is no thread left");
        drop(release);
    }

    #[test]
    fn a_failure_is_told_and_what_is_too_old_is_not_used() {
        let ages = Ages { fresh: Duration::ZERO, grace: LONG, ..AGES };
        let answers = Mutex::new(vec![Err(io::Error::other("no such name")), Ok(vec![address()])]);
        let names = Names::aged(ages, move |_| answers.lock().pop().unwrap());
        assert!(names.resolve("a.example", LONG).is_ok());
        assert_eq!(names.resolve("a.example", LONG), Err(NameError::Failed("no such name".into())));

        let (release, held) = crossbeam_channel::bounded::<()>(1);
        let names = Names::aged(Ages { usable: Duration::ZERO, ..ages }, move |_| {
            held.recv().map(|()| vec![address()]).map_err(io::Error::other)
        });
        release.send(()).unwrap();
        assert!(names.resolve("a.example", LONG).is_ok());
        assert!(names.resolve("a.example", SHORT).is_err());
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
        assert!(!state.known.contains_key("9") && state.known.contains_key("10"), "the oldest make room");
    }

    #[test]
    fn the_system_knows_localhost() {
        let addresses = Names::of_the_system().resolve("localhost", LONG).unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback));
    }
}
