//! What is to be attempted next: pure, fair between destinations, and capped for each of them.
//!
//! A delivery waits until it is due, then stands in the lane of its destination's authority (scheme, host and port). Lanes
//! take turns, one attempt each, and a lane with as many attempts in flight as allowed is passed over: a receiver that is
//! slow or dead fills its own lane and no other.
//!
//! ```text
//! waiting (by due time) ──▶ lane a: ready … ─┐
//!                       ──▶ lane b: ready … ─┼─ in turn ─▶ due(): what to attempt now
//!                       ──▶ lane c: ready … ─┘
//! ```
//!
//! A lane whose destination is paused or at its rate limit rests until it may go on; see [`Pacing`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::domain::id::DeliveryId;
use crate::domain::retry::Sign;
use crate::domain::time::Timestamp;
use pace::{Pace, Start};

mod condition;
mod pace;

pub use condition::Condition;
pub use pace::{Pacing, Rate, Turn};

/// Lanes that are kept before those are let go of which there is nothing to remember.
const LANES: usize = 4096;

/// Deliveries that have gone and still take up room in a lane before it is tidied.
const GONE: usize = 64;

/// Waiting and ready deliveries.
#[derive(Debug)]
pub struct Schedule {
    pacing: Pacing,
    /// The time of the last look at what is due.
    now: Timestamp,
    /// Deliveries by the time at which they are due.
    waiting: BTreeSet<(Timestamp, DeliveryId)>,
    /// Every delivery that waits, is ready or is in flight.
    entries: HashMap<DeliveryId, Entry>,
    lanes: HashMap<Lane, Queue>,
    /// Beyond so many lanes it is looked for those that can be let go of: seldom enough for a look at all of them.
    most_lanes: usize,
    /// Attempts in flight, over all lanes.
    in_flight: usize,
    /// Lanes with ready deliveries that are below the cap, in the order of their turns. Each is in here once.
    turns: VecDeque<Lane>,
    /// Lanes with ready deliveries that may not start one before that time. Each is in here once.
    resting: BTreeSet<(Timestamp, Lane)>,
}

/// Where attempts are capped together: a hash of the authority.
type Lane = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    lane: Lane,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Until then, and for what.
    Waiting(Timestamp, WaitsFor),
    /// Since then.
    Ready(Timestamp),
    Urgent,
    InFlight,
}

/// What a delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The time of its next attempt.
    Time,
    /// The next time at which its job's progress may be told.
    Interval,
    /// The end of its destination's pause.
    Pause,
    /// Its destination's rate limit.
    Rate,
    /// Its turn: other attempts at its destination, or all that may be made at once, are in flight.
    Turn,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries that are not due yet.
    pub waiting: usize,
    /// Deliveries that are due and wait for a slot, or for their destination's.
    pub ready: usize,
    /// Attempts in flight.
    pub in_flight: usize,
}

impl Queue {
    /// When the lane may start one more attempt.
    fn start(&self, now: Timestamp, pacing: &Pacing) -> Start {
        match (self.urgent.is_empty(), self.in_flight < pacing.slots.max(1)) {
            (false, true) => Start::Now,
            // Were it to rest until a pause is over, what is urgent would wait as long.
            (false, false) => Start::AfterAnother,
            (true, _) if self.ready.is_empty() => Start::AfterAnother,
            (true, _) => self.pace.start(self.in_flight, now, pacing),
        }
    }

    fn is_idle(&self) -> bool {
        let is_empty = self.ready.is_empty() && self.urgent.is_empty();
        is_empty && self.waiting == 0 && self.in_flight == 0 && !self.has_turn && self.rests_until.is_none()
    }
}

/// All that goes to one destination.
#[derive(Debug, Default)]
struct Queue {
    authority: Box<str>,
    /// How many of its deliveries are not due yet.
    waiting: usize,
    /// Those that somebody waits for: they go first, and pay no heed to pause and rate.
    urgent: VecDeque<DeliveryId>,
    ready: VecDeque<DeliveryId>,
    /// How many of them stand there no longer.
    gone: usize,
    in_flight: usize,
    has_turn: bool,
    rests_until: Option<Timestamp>,
    pace: Pace,
}

impl Schedule {
    /// An empty schedule.
    #[must_use]
    pub fn new(pacing: Pacing) -> Self {
        Self {
            pacing,
            now: Timestamp::default(),
            waiting: BTreeSet::new(),
            entries: HashMap::new(),
            lanes: HashMap::new(),
            most_lanes: LANES,
            in_flight: 0,
            turns: VecDeque::new(),
            resting: BTreeSet::new(),
        }
    }

    /// Sets when a delivery is due. One that was in flight no longer is.
    pub fn wait(&mut self, delivery: DeliveryId, authority: &str, due: Timestamp) {
        self.place(delivery, authority, Place::Waiting(due, WaitsFor::Time));
    }

    /// As [`wait`](Self::wait), for one that is held back until then, so that a newer one may take its place meanwhile.
    pub fn hold_back(&mut self, delivery: DeliveryId, authority: &str, until: Timestamp) {
        self.place(delivery, authority, Place::Waiting(until, WaitsFor::Interval));
    }

    /// Has a delivery attempted as soon as its destination has a slot, whether that is paused or not: somebody waits for it.
    pub fn hurry(&mut self, delivery: DeliveryId, authority: &str) {
        self.place(delivery, authority, Place::Urgent);
    }

    fn place(&mut self, delivery: DeliveryId, authority: &str, place: Place) {
        self.remove(delivery);
        let lane = lane(authority);
        self.entries.insert(delivery, Entry { lane, place });
        let queue = self.queue(lane, authority);
        if let Place::Waiting(due, _) = place {
            queue.waiting += 1;
            self.waiting.insert((due, delivery));
        } else {
            queue.urgent.push_back(delivery);
            self.offer_turn_anew(lane);
        }
    }

    fn queue(&mut self, lane: Lane, authority: &str) -> &mut Queue {
        self.lanes.entry(lane).or_insert_with(|| Queue { authority: authority.into(), ..Queue::default() })
    }

    /// Limits how fast a destination is served.
    pub fn limit(&mut self, authority: &str, rate: Rate) {
        let lane = lane(authority);
        self.queue(lane, authority).pace.limit(rate);
        self.offer_turn_anew(lane);
    }

    /// Notes what a delivery's attempt, which is in flight still, says of its destination, and whether that has turned.
    pub fn learn(&mut self, delivery: DeliveryId, sign: Sign, now: Timestamp) -> Option<Turn> {
        let lane = self.entries.get(&delivery)?.lane;
        let turn = self.lanes.get_mut(&lane)?.pace.ended(sign, now, &self.pacing);
        self.offer_turn_anew(lane);
        turn
    }

    /// Its rest may have become shorter.
    fn offer_turn_anew(&mut self, lane: Lane) {
        if let Some(until) = self.lanes.get_mut(&lane).and_then(|queue| queue.rests_until.take()) {
            self.resting.remove(&(until, lane));
        }
        self.offer_turn(lane);
    }

    /// What a delivery waits for; `None` when it is in flight or unknown.
    #[must_use]
    pub fn waits_for(&self, delivery: DeliveryId) -> Option<WaitsFor> {
        let entry = self.entries.get(&delivery)?;
        match entry.place {
            Place::Waiting(_, what) => Some(what),
            Place::Urgent => Some(WaitsFor::Turn),
            Place::InFlight => None,
            Place::Ready(_) => Some(match self.start(entry.lane) {
                Some(Start::AfterPause(_)) => WaitsFor::Pause,
                Some(Start::AtRate(_)) => WaitsFor::Rate,
                Some(Start::Now | Start::AfterAnother) | None => WaitsFor::Turn,
            }),
        }
    }

    fn start(&self, lane: Lane) -> Option<Start> {
        let queue = self.lanes.get(&lane)?;
        Some(queue.pace.start(queue.in_flight, self.now, &self.pacing))
    }

    /// Forgets a delivery.
    pub fn remove(&mut self, delivery: DeliveryId) {
        let Some(entry) = self.entries.remove(&delivery) else { return };
        let Some(queue) = self.lanes.get_mut(&entry.lane) else { return };
        match entry.place {
            Place::Waiting(due, _) => {
                queue.waiting -= 1;
                self.waiting.remove(&(due, delivery));
            }
            // It stays in its lane's queue and is passed over at its turn: looking for it would take time in the length of
            // the queue.
            Place::Ready(_) | Place::Urgent => self.tidy(entry.lane),
            Place::InFlight => {
                queue.in_flight -= 1;
                self.in_flight -= 1;
            }
        }
        self.offer_turn(entry.lane);
    }

    /// Takes those out of a lane that have gone, once they are the greater part: a destination that is paused for an hour
    /// keeps no more of superseded progress than of what waits.
    fn tidy(&mut self, lane: Lane) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        queue.gone += 1;
        if queue.gone > GONE && queue.gone * 2 > queue.ready.len() + queue.urgent.len() {
            let stands = |delivery: &DeliveryId| self.entries.get(delivery).is_some_and(|entry| entry.lane == lane);
            queue.ready.retain(stands);
            queue.urgent.retain(stands);
            queue.gone = 0;
        }
    }

    /// Chooses up to `slots` deliveries to attempt now; they count as in flight from here on.
    pub fn due(&mut self, now: Timestamp, slots: usize) -> Vec<DeliveryId> {
        self.now = now;
        self.make_ready(now);
        let mut chosen = Vec::new();
        while chosen.len() < slots {
            let Some(lane) = self.turns.pop_front() else { break };
            let Some(queue) = self.lanes.get_mut(&lane) else { continue };
            queue.has_turn = false;
            chosen.extend(self.start_one(lane, now));
            self.offer_turn(lane);
        }
        chosen
    }

    /// Starts the first delivery of a lane that still stands in it, if the lane may start one.
    fn start_one(&mut self, lane: Lane, now: Timestamp) -> Option<DeliveryId> {
        let queue = self.lanes.get_mut(&lane)?;
        let entries = &mut self.entries;
        let mut stands = |delivery: &DeliveryId, is_urgent: bool| {
            let entry = entries.get_mut(delivery).filter(|entry| entry.lane == lane);
            let stands = |entry: &&mut Entry| match entry.place {
                Place::Urgent => is_urgent,
                Place::Ready(_) => !is_urgent,
                Place::Waiting(..) | Place::InFlight => false,
            };
            entry.filter(stands).map(|entry| entry.place = Place::InFlight).is_some()
        };
        let mut started = None;
        while started.is_none() && queue.in_flight < self.pacing.slots.max(1) {
            let Some(first) = queue.urgent.pop_front() else { break };
            started = Some(first).filter(|delivery| stands(delivery, true));
            queue.gone = queue.gone.saturating_sub(usize::from(started.is_none()));
        }
        while started.is_none() && queue.pace.start(queue.in_flight, now, &self.pacing) == Start::Now {
            let Some(first) = queue.ready.pop_front() else { break };
            started = Some(first).filter(|delivery| stands(delivery, false));
            queue.gone = queue.gone.saturating_sub(usize::from(started.is_none()));
        }
        if started.is_some() {
            queue.in_flight += 1;
            queue.pace.started(now, &self.pacing);
            self.in_flight += 1;
        }
        started
    }

    fn make_ready(&mut self, now: Timestamp) {
        while let Some(&(until, lane)) = self.resting.first().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, lane));
            if let Some(queue) = self.lanes.get_mut(&lane) {
                queue.rests_until = None;
            }
            self.offer_turn(lane);
        }
        while let Some(&(due, delivery)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, delivery));
            let Some(entry) = self.entries.get_mut(&delivery) else { continue };
            entry.place = Place::Ready(due);
            let lane = entry.lane;
            let Some(queue) = self.lanes.get_mut(&lane) else { continue };
            queue.waiting -= 1;
            queue.ready.push_back(delivery);
            self.offer_turn(lane);
        }
        if self.lanes.len() > self.most_lanes {
            self.lanes.retain(|_, queue| !queue.is_idle() || !queue.pace.is_forgettable(now));
            self.most_lanes = LANES.max(self.lanes.len() * 2);
        }
    }

    /// Gives a lane a turn where it can use one, has it rest where it may not yet, and drops one of which there is nothing
    /// to remember.
    fn offer_turn(&mut self, lane: Lane) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        if queue.has_turn || queue.rests_until.is_some() {
            return;
        }
        if queue.ready.is_empty() && queue.urgent.is_empty() {
            if queue.waiting == 0 && queue.in_flight == 0 && queue.pace.is_forgettable(self.now) {
                self.lanes.remove(&lane);
            }
            return;
        }
        match queue.start(self.now, &self.pacing) {
            Start::Now => {
                queue.has_turn = true;
                self.turns.push_back(lane);
            }
            Start::AfterPause(until) | Start::AtRate(until) => {
                queue.rests_until = Some(until);
                self.resting.insert((until, lane));
            }
            Start::AfterAnother => {}
        }
    }

    /// When the next waiting delivery is due, or a lane has rested long enough. What is ready otherwise waits for a free
    /// slot, not for time.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.waiting.first().map(|(due, _)| *due);
        waiting.into_iter().chain(self.resting.first().map(|(until, _)| *until)).min()
    }

    /// Whether something could be attempted as soon as there is a slot.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.turns.is_empty()
    }

    /// How much there is to do.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let (waiting, in_flight) = (self.waiting.len(), self.in_flight);
        let ready = self.entries.len() - waiting - in_flight;
        Backlog { waiting, ready, in_flight }
    }

    /// Since when the oldest delivery that is ready has been due: a look at the first in every lane.
    #[must_use]
    pub fn oldest_ready(&self) -> Option<Timestamp> {
        let first = |(lane, queue): (&Lane, &Queue)| {
            queue.ready.iter().find_map(|delivery| match self.entries.get(delivery) {
                Some(Entry { lane: of, place: Place::Ready(due) }) if of == lane => Some(*due),
                _ => None,
            })
        };
        self.lanes.iter().filter_map(first).min()
    }

    /// How many deliveries wait, are ready or are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every delivery in flight, in no order.
    pub fn in_flight(&self) -> impl Iterator<Item = DeliveryId> {
        self.entries.iter().filter(|(_, entry)| entry.place == Place::InFlight).map(|(delivery, _)| *delivery)
    }

    /// Moves every due time back by `jump`, for a clock that was set back by so much: a wait is a length of time, and
    /// must not grow with the jump.
    pub fn set_back(&mut self, jump: Duration) {
        let back = i64::try_from(jump.as_millis()).unwrap_or(i64::MAX);
        let moved = |due: Timestamp| Timestamp::from_millis(due.as_millis().saturating_sub(back));
        self.waiting =
            std::mem::take(&mut self.waiting).into_iter().map(|(due, delivery)| (moved(due), delivery)).collect();
        for entry in self.entries.values_mut() {
            if let Place::Waiting(due, _) | Place::Ready(due) = &mut entry.place {
                *due = moved(*due);
            }
        }
        self.resting =
            std::mem::take(&mut self.resting).into_iter().map(|(until, lane)| (moved(until), lane)).collect();
        for queue in self.lanes.values_mut() {
            queue.rests_until = queue.rests_until.map(moved);
            queue.pace.set_back(back);
        }
        self.now = moved(self.now);
    }
}

/// The beginning of a SHA-256: the same lane for the same authority in every run, so that a simulation can be repeated; and
/// nobody finds a name that shares a lane, and so its pauses, with another's.
fn lane(authority: &str) -> Lane {
    let hash: [u8; 32] = Sha256::digest(authority).into();
    hash.iter().take(8).fold(0, |lane, byte| lane << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
