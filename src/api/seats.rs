//! Who is connected, and who goes when there is no room.
//!
//! ```text
//!          ┌── a request ──▶ asked ── the whole answer is hyper's ──▶ answered ──┐
//! waiting ─┤                                                                     │ written
//!    ▲     └── no room for somebody else: told to leave                          │
//!    └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Connections cost memory and file descriptors, so there is a cap. Whoever only keeps one open without asking anything
//! must not keep others out: at the cap the one that has been waiting for the longest time goes. One with a request is
//! left alone, for nobody could say what became of the request.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// All seats. Clones share them.
#[derive(Clone)]
pub(super) struct Seats {
    table: Arc<Mutex<Table>>,
    /// Told whenever somebody has left or has begun to wait, so that there may be room.
    moved: Arc<Notify>,
}

struct Table {
    total: usize,
    per_peer: usize,
    taken: usize,
    peers: HashMap<IpAddr, usize>,
    /// Connections without a request, in the order in which they began to wait.
    waiting: BTreeMap<u64, Waiting>,
    /// The next one's place in that order.
    next: u64,
    /// Those that were told to leave and have not left yet.
    leaving: usize,
}

struct Waiting {
    peer: IpAddr,
    leave: Arc<Notify>,
}

/// Whether a connection may come in.
pub(super) enum Admission {
    /// It has a seat.
    Seated(Seat),
    /// When [`Seats::moved`] says so, ask again: somebody is leaving, or all have requests.
    Full,
    /// Its peer has as many connections as one may have, all of them with requests.
    TooManyOfOnePeer,
}

impl Seats {
    /// At most `total` seats, and `per_peer` of them for one peer.
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        let table = Table {
            total: total.max(1),
            per_peer: per_peer.max(1),
            taken: 0,
            peers: HashMap::new(),
            waiting: BTreeMap::new(),
            next: 0,
            leaving: 0,
        };
        Self { table: Arc::new(Mutex::new(table)), moved: Arc::default() }
    }

    /// Gives a seat to a connection from `address`, or makes room for it.
    pub(super) fn admit(&self, address: IpAddr) -> Admission {
        let peer = peer(address);
        let mut table = self.table.lock();
        let of_peer = table.peers.get(&peer).copied().unwrap_or_default();
        // Where one peer may take them all, it waits for its turn like everybody.
        if table.per_peer < table.total && of_peer >= table.per_peer {
            // A seat that is being left counts until it was left.
            return if table.leaving > 0 || table.make_room(|waiting| waiting.peer == peer) {
                Admission::Full
            } else {
                Admission::TooManyOfOnePeer
            };
        }
        if table.taken >= table.total {
            if table.leaving == 0 {
                table.make_room(|_| true);
            }
            return Admission::Full;
        }
        table.taken += 1;
        *table.peers.entry(peer).or_default() += 1;
        let leave = Arc::new(Notify::new());
        let place = table.wait(peer, &leave);
        let (seats, phase) = (self.clone(), Mutex::new(Phase::Waiting(place)));
        Admission::Seated(Seat { seats, peer, phase, answered: AtomicBool::new(false), leave })
    }

    /// Connections with a request that is being answered.
    pub(super) fn under_way(&self) -> usize {
        let table = self.table.lock();
        table.taken.saturating_sub(table.waiting.len() + table.leaving)
    }

    /// Waits until there may be room.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }
}

impl Table {
    fn wait(&mut self, peer: IpAddr, leave: &Arc<Notify>) -> u64 {
        let place = self.next;
        self.next += 1;
        self.waiting.insert(place, Waiting { peer, leave: Arc::clone(leave) });
        place
    }

    /// Tells the one to leave that has been waiting longest, of those that `may` go. Whether there was one.
    fn make_room(&mut self, may: impl Fn(&Waiting) -> bool) -> bool {
        let Some(place) = self.waiting.iter().find(|(_, waiting)| may(waiting)).map(|(place, _)| *place) else {
            return false;
        };
        if let Some(waiting) = self.waiting.remove(&place) {
            waiting.leave.notify_one();
            self.leaving += 1;
        }
        true
    }
}

/// One connection's seat; dropping it leaves it.
pub(super) struct Seat {
    seats: Seats,
    peer: IpAddr,
    phase: Mutex<Phase>,
    /// Whether hyper has the whole answer: looked at before every lock, because hyper flushes often.
    answered: AtomicBool,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Without a request, at this place in the order.
    Waiting(u64),
    /// A request is being answered, or its answer written.
    Asked,
}

impl Seat {
    /// Whose it is.
    pub(super) const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Waits until it is told to leave.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// A request has come. Whether it may be answered: not when the seat has been given away in that very moment.
    pub(super) fn ask(&self) -> bool {
        let mut phase = self.phase.lock();
        let Phase::Waiting(place) = *phase else { return true };
        if self.seats.table.lock().waiting.remove(&place).is_none() {
            return false;
        }
        *phase = Phase::Asked;
        true
    }

    /// Nothing more is to come of the answer but its being written.
    pub(super) fn answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whatever was to be written has been.
    pub(super) fn flushed(&self) {
        if !self.answered.load(Ordering::Relaxed) || !self.answered.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut phase = self.phase.lock();
        if *phase == Phase::Asked {
            *phase = Phase::Waiting(self.seats.table.lock().wait(self.peer, &self.leave));
            self.seats.moved.notify_one();
        }
    }

    /// Whether there is a request that has no answer yet.
    pub(super) fn owes_an_answer(&self) -> bool {
        *self.phase.lock() == Phase::Asked && !self.answered.load(Ordering::Relaxed)
    }

    /// Whether there is no request, nor anything to be written of an answer.
    pub(super) fn is_waiting(&self) -> bool {
        *self.phase.lock() != Phase::Asked
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table.lock();
        if let Phase::Waiting(place) = *self.phase.lock()
            && table.waiting.remove(&place).is_none()
        {
            table.leaving = table.leaving.saturating_sub(1);
        }
        table.taken = table.taken.saturating_sub(1);
        if let Some(of_peer) = table.peers.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                table.peers.remove(&self.peer);
            }
        }
        drop(table);
        self.seats.moved.notify_one();
    }
}

/// What counts as one peer: an address, and of IPv6 the network of one site (a /64), within which a machine may take any.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(seats: &Seats, address: &str) -> Option<Seat> {
        match seats.admit(address.parse().unwrap()) {
            Admission::Seated(seat) => Some(seat),
            Admission::Full | Admission::TooManyOfOnePeer => None,
        }
    }

    /// Whether it was told to leave, as the next request would find.
    fn must_leave(seat: &Seat) -> bool {
        !seat.ask()
    }

    #[test]
    fn whoever_has_waited_longest_goes() {
        let seats = Seats::new(3, 3);
        let [first, second, third] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| seat(&seats, address).unwrap());
        assert!(first.ask());
        first.answer();
        first.flushed();
        assert!(third.ask());
        assert!(seat(&seats, "10.0.0.4").is_none() && seat(&seats, "10.0.0.4").is_none(), "one goes for one who comes");
        assert!(must_leave(&second));
        drop(second);
        let fourth = seat(&seats, "10.0.0.4").unwrap();
        assert!(seat(&seats, "10.0.0.5").is_none());
        assert!(must_leave(&first) && !must_leave(&fourth));
    }

    #[test]
    fn whoever_has_a_request_stays_until_its_answer_is_written() {
        let seats = Seats::new(1, 1);
        let only = seat(&seats, "10.0.0.1").unwrap();
        assert!(only.ask() && only.owes_an_answer() && !only.is_waiting());
        only.flushed();
        assert!(!only.is_waiting(), "what was flushed was not the answer");
        only.answer();
        assert!(seat(&seats, "10.0.0.2").is_none());
        assert!(!only.owes_an_answer() && !only.is_waiting());
        only.flushed();
        assert!(only.is_waiting() && !must_leave(&only));
        only.answer();
        only.flushed();
        assert!(seat(&seats, "10.0.0.2").is_none());
        assert!(must_leave(&only));
        drop(only);
        assert!(seat(&seats, "10.0.0.2").is_some());
    }

    #[test]
    fn a_peer_has_its_own_cap() {
        let seats = Seats::new(9, 2);
        let (one, two) = (seat(&seats, "10.0.0.1").unwrap(), seat(&seats, "::ffff:10.0.0.1").unwrap());
        let other = seat(&seats, "10.0.0.2").unwrap();
        assert!(one.ask());
        assert!(matches!(seats.admit("10.0.0.1".parse().unwrap()), Admission::Full));
        assert!(must_leave(&two) && !must_leave(&other));
        drop(two);
        let two = seat(&seats, "10.0.0.1").unwrap();
        assert!(two.ask());
        assert!(matches!(seats.admit("10.0.0.1".parse().unwrap()), Admission::TooManyOfOnePeer));
        assert_eq!(peer("2001:db8:1:2:3::4".parse().unwrap()), peer("2001:db8:1:2::".parse().unwrap()));
        assert_ne!(peer("2001:db8:1:2::".parse().unwrap()), peer("2001:db8:1:3::".parse().unwrap()));
    }
}
