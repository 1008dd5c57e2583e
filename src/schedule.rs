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

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;

/// Waiting and ready deliveries.
#[derive(Debug)]
pub struct Schedule {
    /// Attempts in flight at most, for each lane.
    cap: usize,
    /// Deliveries by the time at which they are due.
    waiting: BTreeSet<(Timestamp, DeliveryId)>,
    /// Every delivery that waits, is ready or is in flight.
    entries: HashMap<DeliveryId, Entry>,
    lanes: HashMap<Lane, Queue>,
    /// Attempts in flight, over all lanes.
    in_flight: usize,
    /// Lanes with ready deliveries that are below the cap, in the order of their turns. Each is in here once.
    turns: VecDeque<Lane>,
}

/// Where attempts are capped together: a hash of the authority. Two authorities in one lane would share a cap, no more.
type Lane = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    lane: Lane,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Until then.
    Waiting(Timestamp),
    /// Since then.
    Ready(Timestamp),
    InFlight,
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

impl Entry {
    fn is_ready_in(self, lane: Lane) -> bool {
        self.lane == lane && matches!(self.place, Place::Ready(_))
    }
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<DeliveryId>,
    in_flight: usize,
    has_turn: bool,
}

impl Schedule {
    /// An empty schedule that lets `cap` attempts at a time go to one authority.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            cap: cap.max(1),
            waiting: BTreeSet::new(),
            entries: HashMap::new(),
            lanes: HashMap::new(),
            in_flight: 0,
            turns: VecDeque::new(),
        }
    }

    /// Sets when a delivery is due. One that was in flight no longer is.
    pub fn wait(&mut self, delivery: DeliveryId, authority: &str, due: Timestamp) {
        self.remove(delivery);
        self.waiting.insert((due, delivery));
        self.entries.insert(delivery, Entry { lane: lane(authority), place: Place::Waiting(due) });
    }

    /// Forgets a delivery.
    pub fn remove(&mut self, delivery: DeliveryId) {
        let Some(entry) = self.entries.remove(&delivery) else { return };
        match entry.place {
            Place::Waiting(due) => {
                self.waiting.remove(&(due, delivery));
            }
            // It stays in its lane's queue and is passed over at its turn: looking for it would take time in the length of the queue.
            Place::Ready(_) => {}
            Place::InFlight => {
                self.in_flight -= 1;
                let queue = self.lanes.entry(entry.lane).or_default();
                queue.in_flight -= 1;
            }
        }
        self.offer_turn(entry.lane);
    }

    /// Chooses up to `slots` deliveries to attempt now; they count as in flight from here on.
    pub fn due(&mut self, now: Timestamp, slots: usize) -> Vec<DeliveryId> {
        self.make_ready(now);
        let mut chosen = Vec::new();
        while chosen.len() < slots {
            let Some(lane) = self.turns.pop_front() else { break };
            let Some(queue) = self.lanes.get_mut(&lane) else { continue };
            queue.has_turn = false;
            while let Some(delivery) = queue.ready.pop_front() {
                let Some(entry) = self.entries.get_mut(&delivery).filter(|entry| entry.is_ready_in(lane)) else {
                    continue;
                };
                entry.place = Place::InFlight;
                queue.in_flight += 1;
                self.in_flight += 1;
                chosen.push(delivery);
                break;
            }
            self.offer_turn(lane);
        }
        chosen
    }

    fn make_ready(&mut self, now: Timestamp) {
        while let Some(&(due, delivery)) = self.waiting.first().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, delivery));
            let Some(entry) = self.entries.get_mut(&delivery) else { continue };
            entry.place = Place::Ready(due);
            let lane = entry.lane;
            self.lanes.entry(lane).or_default().ready.push_back(delivery);
            self.offer_turn(lane);
        }
    }

    /// Gives a lane a turn where it can use one, and drops a lane that nothing is in.
    fn offer_turn(&mut self, lane: Lane) {
        let Some(queue) = self.lanes.get_mut(&lane) else { return };
        if queue.has_turn {
            return;
        }
        if !queue.ready.is_empty() && queue.in_flight < self.cap {
            queue.has_turn = true;
            self.turns.push_back(lane);
        } else if queue.ready.is_empty() && queue.in_flight == 0 {
            self.lanes.remove(&lane);
        }
    }

    /// When the next waiting delivery is due. What is ready already waits for a free slot, not for time.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(due, _)| *due)
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
            if let Place::Waiting(due) = &mut entry.place {
                *due = moved(*due);
            }
        }
    }
}

/// FNV-1a, 64 bits: the same lane for the same authority in every run, so that a simulation can be repeated.
fn lane(authority: &str) -> Lane {
    authority.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
