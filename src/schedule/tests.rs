use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

mod pacing;

const A: &str = "https://a.example:443";
const B: &str = "https://b.example:443";

const fn d(id: u128) -> DeliveryId {
    DeliveryId(id)
}

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn slots(slots: usize) -> Pacing {
    Pacing { slots, failures: None, ..Pacing::default() }
}

/// Deliveries with these ids, all due at 0.
fn with(cap: usize, waiting: &[(u128, &str)]) -> Schedule {
    let mut schedule = Schedule::new(slots(cap));
    for (id, authority) in waiting {
        schedule.wait(d(*id), authority, at(0));
    }
    schedule
}

fn ids(chosen: Vec<DeliveryId>) -> Vec<u128> {
    chosen.into_iter().map(|delivery| delivery.0).collect()
}

#[test]
fn nothing_is_due_in_an_empty_schedule() {
    let mut schedule = Schedule::new(slots(1));
    assert_eq!(schedule.due(at(i64::MAX), 9), []);
    assert!(schedule.is_empty() && !schedule.is_ready() && schedule.next_due().is_none());
}

#[test]
fn a_delivery_is_due_at_its_time_and_not_before() {
    let mut schedule = Schedule::new(slots(9));
    schedule.wait(d(1), A, at(10));
    assert_eq!((schedule.next_due(), schedule.due(at(9), 9)), (Some(at(10)), vec![]));
    assert_eq!(schedule.due(at(10), 9), [d(1)]);
    assert_eq!((schedule.next_due(), schedule.due(at(10), 9)), (None, vec![]), "it is in flight");
    assert_eq!(schedule.in_flight().collect::<Vec<_>>(), [d(1)]);
    assert_eq!(schedule.len(), 1);
}

#[test]
fn what_is_due_first_goes_first_and_then_the_older_id() {
    let mut schedule = Schedule::new(slots(9));
    for (id, due) in [(5, 3), (1, 2), (4, 2), (2, 1)] {
        schedule.wait(d(id), A, at(due));
    }
    assert_eq!(schedule.next_due(), Some(at(1)));
    assert_eq!(ids(schedule.due(at(3), 9)), [2, 1, 4, 5]);
}

#[test]
fn lanes_take_turns() {
    let mut schedule = with(9, &[(1, A), (2, A), (3, A), (4, B), (5, B), (6, "c"), (7, A)]);
    assert_eq!(ids(schedule.due(at(0), 9)), [1, 4, 6, 2, 5, 3, 7]);
}

#[test]
fn turns_go_on_where_the_slots_ended() {
    let mut schedule = with(9, &[(1, A), (2, A), (3, A), (4, B), (5, B)]);
    let one_by_one: Vec<_> = (0..6).flat_map(|_| ids(schedule.due(at(0), 1))).collect();
    assert_eq!(one_by_one, [1, 4, 2, 5, 3]);
}

#[test]
fn a_lane_at_its_cap_is_passed_over_until_an_attempt_of_it_ends() {
    let mut schedule = with(2, &[(1, A), (2, A), (3, A), (4, A), (5, B)]);
    assert_eq!(ids(schedule.due(at(0), 9)), [1, 5, 2]);
    assert!(!schedule.is_ready(), "nothing could be started, however many slots there are");
    assert_eq!(schedule.due(at(0), 9), []);
    schedule.remove(d(2));
    assert!(schedule.is_ready());
    assert_eq!(ids(schedule.due(at(0), 9)), [3]);
    schedule.wait(d(1), A, at(100));
    assert_eq!(ids(schedule.due(at(0), 9)), [4], "one that waits again has left its place");
}

#[test]
fn a_cap_of_nothing_would_deliver_nothing_so_it_is_one() {
    assert_eq!(ids(with(0, &[(1, A), (2, A)]).due(at(0), 9)), [1]);
}

#[test]
fn without_a_slot_nothing_is_started_and_what_is_due_gets_ready() {
    let mut schedule = with(9, &[(1, A)]);
    assert!(!schedule.is_ready(), "it waits for time");
    assert_eq!(schedule.due(at(0), 0), []);
    assert!(schedule.is_ready(), "it waits for a slot");
    assert_eq!(schedule.next_due(), None, "and no longer for time");
    assert_eq!(schedule.due(at(0), 1), [d(1)]);
}

#[test]
fn what_is_removed_is_forgotten_wherever_it_stood() {
    let mut schedule = with(9, &[(1, A), (2, A), (3, A)]);
    schedule.remove(d(1));
    assert_eq!(schedule.len(), 2);
    assert_eq!(schedule.due(at(0), 0), []);
    schedule.remove(d(2));
    assert_eq!(ids(schedule.due(at(0), 9)), [3], "1 waited, 2 was ready");
    schedule.remove(d(3));
    schedule.remove(d(3));
    assert!(schedule.is_empty() && schedule.in_flight().next().is_none());
    assert_eq!(schedule.due(at(9), 9), []);
}

#[test]
fn what_is_removed_while_it_is_ready_gives_its_turn_to_the_next() {
    let mut schedule = with(9, &[(1, A), (2, B), (3, A)]);
    schedule.due(at(0), 0);
    schedule.remove(d(1));
    schedule.remove(d(2));
    assert_eq!(ids(schedule.due(at(0), 1)), [3]);
    assert_eq!(schedule.due(at(0), 1), []);
    assert!(!schedule.is_ready(), "a turn that nothing is left for is dropped when it comes");
}

#[test]
fn whatever_waits_anew_waits_once() {
    let mut schedule = with(9, &[(1, A)]);
    schedule.wait(d(1), A, at(5));
    assert_eq!(schedule.due(at(4), 9), [], "while it waited");
    schedule.due(at(5), 0);
    schedule.wait(d(1), A, at(8));
    assert_eq!(schedule.due(at(7), 9), [], "while it was ready");
    assert_eq!(ids(schedule.due(at(8), 9)), [1]);
    schedule.wait(d(1), A, at(10));
    assert_eq!((schedule.in_flight().count(), schedule.next_due()), (0, Some(at(10))), "while it was in flight");
    assert_eq!(ids(schedule.due(at(10), 9)), [1]);
    assert_eq!(schedule.due(at(10), 9), []);
}

#[test]
fn a_delivery_that_moves_to_another_lane_is_counted_there() {
    let mut schedule = with(1, &[(1, A), (2, B)]);
    schedule.due(at(0), 0);
    schedule.wait(d(1), B, at(0));
    let first = ids(schedule.due(at(0), 9));
    assert_eq!(first, [2], "lane b is full with it, and lane a is empty");
    schedule.remove(d(2));
    assert_eq!(ids(schedule.due(at(0), 9)), [1]);
    schedule.remove(d(1));
    assert!(schedule.is_empty());
}

#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let mut schedule = with(9, &[]);
    schedule.wait(d(1), A, at(100_000));
    schedule.wait(d(2), A, at(160_000));
    schedule.set_back(Duration::from_mins(1));
    assert_eq!(schedule.next_due(), Some(at(40_000)));
    assert_eq!(ids(schedule.due(at(40_000), 9)), [1]);
    schedule.remove(d(2));
    assert_eq!((schedule.next_due(), schedule.len()), (None, 1), "one that was moved can be removed");
    schedule.wait(d(3), A, at(5));
    schedule.set_back(Duration::MAX);
    assert_eq!(ids(schedule.due(at(0), 9)), [3]);
}

/// What may happen to a schedule.
#[derive(Clone, Debug)]
enum Step {
    Wait { id: u128, lane: usize, in_millis: i64 },
    Remove { id: u128 },
    Due { slots: usize },
    Pass { millis: i64 },
    SetBack { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..12_u128;
    prop_oneof![
        6 => (id(), 0..4_usize, 0..20_i64).prop_map(|(id, lane, in_millis)| Step::Wait { id, lane, in_millis }),
        3 => id().prop_map(|id| Step::Remove { id }),
        4 => (0..6_usize).prop_map(|slots| Step::Due { slots }),
        3 => (0..15_i64).prop_map(|millis| Step::Pass { millis }),
        1 => (0..15_u64).prop_map(|millis| Step::SetBack { millis }),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Waiting(Timestamp),
    Ready,
    InFlight,
}

/// The schedule as plainly as can be: a table, searched anew for every question. It says what may be chosen, and leaves
/// open which of several lanes begins.
struct Model {
    cap: usize,
    table: BTreeMap<u128, (usize, Stands)>,
    /// In the order in which they got ready. Whoever left a queue and came back may have its old place or the new one,
    /// so it is not in here.
    queues: [Vec<u128>; 4],
    returned: BTreeSet<u128>,
}

impl Model {
    fn leave(&mut self, id: u128) {
        if matches!(self.table.remove(&id), Some((_, Stands::Ready))) {
            self.returned.insert(id);
        }
        self.queues.iter_mut().for_each(|queue| queue.retain(|queued| *queued != id));
    }

    fn count(&self, lane: usize, stands: Stands) -> usize {
        self.table.values().filter(|entry| **entry == (lane, stands)).count()
    }

    fn make_ready(&mut self, now: Timestamp) {
        let mut due: Vec<_> = self
            .table
            .iter()
            .filter_map(|(id, (_, stands))| match stands {
                Stands::Waiting(due) if *due <= now => Some((*due, *id)),
                _ => None,
            })
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            let (lane, stands) = self.table.get_mut(&id).unwrap();
            *stands = Stands::Ready;
            if !self.returned.contains(&id) {
                self.queues[*lane].push(id);
            }
        }
    }

    /// A lane that could start one more attempt.
    fn could(&self, lane: usize) -> bool {
        self.count(lane, Stands::Ready) > 0 && self.count(lane, Stands::InFlight) < self.cap
    }

    /// Checks a choice, and follows it.
    fn check(&mut self, chosen: &[DeliveryId], slots: usize) {
        assert!(chosen.len() <= slots);
        let mut taken = [0_usize; 4];
        for DeliveryId(id) in chosen {
            let (lane, stands) = self.table.get_mut(id).expect("what is chosen is known");
            let lane = *lane;
            assert!(*stands == Stands::Ready, "{id} is due, and not in flight");
            *stands = Stands::InFlight;
            taken[lane] += 1;
            assert!(self.count(lane, Stands::InFlight) <= self.cap, "lane {lane} is below its cap");
            if !self.returned.contains(id) {
                assert_eq!(self.queues[lane].remove(0), *id, "lane {lane} goes in the order of being due");
            }
        }
        let could: Vec<usize> = (0..4).filter(|lane| self.could(*lane)).collect();
        assert!(chosen.len() == slots || could.is_empty(), "no slot stays free while a lane could use it");
        let most = taken.iter().max().unwrap();
        assert!(could.iter().all(|lane| taken[*lane] + 1 >= *most), "no lane is a whole turn behind: {taken:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_schedule_does_what_the_model_allows(cap in 1..4_usize, steps in proptest::collection::vec(step(), 1..150)) {
        let lanes = ["https://a:1", "https://b:1", "http://a:1", "https://a:2"];
        let mut schedule = Schedule::new(slots(cap));
        let mut model =
            Model { cap, table: BTreeMap::new(), queues: Default::default(), returned: BTreeSet::new() };
        let mut now = at(1_000);
        for step in steps {
            match step {
                Step::Wait { id, lane, in_millis } => {
                    let due = at(now.as_millis() + in_millis);
                    schedule.wait(d(id), lanes[lane], due);
                    model.leave(id);
                    model.table.insert(id, (lane, Stands::Waiting(due)));
                }
                Step::Remove { id } => {
                    schedule.remove(d(id));
                    model.leave(id);
                }
                Step::Due { slots } => {
                    model.make_ready(now);
                    model.check(&schedule.due(now, slots), slots);
                    if slots > model.table.len() {
                        prop_assert!(!schedule.is_ready(), "whatever could be started was");
                    }
                }
                Step::Pass { millis } => now = at(now.as_millis() + millis),
                Step::SetBack { millis } => {
                    now = at(now.as_millis() - i64::try_from(millis).unwrap());
                    schedule.set_back(Duration::from_millis(millis));
                    for (_, stands) in model.table.values_mut() {
                        if let Stands::Waiting(due) = stands {
                            *due = at(due.as_millis() - i64::try_from(millis).unwrap());
                        }
                    }
                }
            }
            let waiting = model.table.values().filter_map(|(_, stands)| match stands {
                Stands::Waiting(due) => Some(*due),
                _ => None,
            });
            prop_assert_eq!(schedule.next_due(), waiting.min());
            prop_assert_eq!(schedule.len(), model.table.len());
            prop_assert!(schedule.is_ready() || !(0..4).any(|lane| model.could(lane)), "a wake is never missed");
            let in_flight: BTreeSet<_> = schedule.in_flight().map(|delivery| delivery.0).collect();
            let expected = model.table.iter().filter(|(_, (_, stands))| *stands == Stands::InFlight);
            prop_assert_eq!(in_flight, expected.map(|(id, _)| *id).collect::<BTreeSet<_>>());
        }
    }
}

#[test]
fn the_backlog_says_how_much_there_is_and_how_late_the_oldest_is() {
    let mut schedule = with(1, &[]);
    for (id, authority, due) in [(1, A, 1), (2, A, 2), (3, B, 3), (4, B, 4), (5, B, 9)] {
        schedule.wait(d(id), authority, at(due));
    }
    assert_eq!(schedule.backlog(), Backlog { waiting: 5, ready: 0, in_flight: 0 });
    assert_eq!(schedule.oldest_ready(), None);
    assert_eq!(ids(schedule.due(at(5), 9)), [1, 3]);
    assert_eq!(schedule.backlog(), Backlog { waiting: 1, ready: 2, in_flight: 2 });
    assert_eq!(schedule.oldest_ready(), Some(at(2)));
    schedule.remove(d(2));
    assert_eq!(schedule.oldest_ready(), Some(at(4)));
    schedule.remove(d(1));
    assert_eq!(schedule.backlog(), Backlog { waiting: 1, ready: 1, in_flight: 1 });
}

#[test]
fn a_destination_that_fails_is_probed_and_its_deliveries_wait() {
    let mut schedule = Schedule::new(Pacing { slots: 4, failures: Some(2), ..Pacing::default() });
    for id in 1..=6 {
        schedule.wait(d(id), A, at(0));
    }
    schedule.wait(d(9), B, at(0));
    assert_eq!(ids(schedule.due(at(0), 9)), [1, 9, 2, 3, 4]);
    for id in [1, 2] {
        schedule.learn(d(id), Sign::Failing, at(10));
        schedule.wait(d(id), A, at(5_000));
    }
    assert_eq!((schedule.due(at(10), 9), schedule.next_due()), (vec![], Some(at(1_010))), "it is paused");
    assert_eq!((schedule.waits_for(d(5)), schedule.waits_for(d(1))), (Some(WaitsFor::Pause), Some(WaitsFor::Time)));
    assert!(!schedule.is_ready());
    schedule.remove(d(3));
    schedule.remove(d(4));
    assert_eq!(ids(schedule.due(at(1_010), 9)), [5], "one attempt finds out");
    assert_eq!(schedule.waits_for(d(6)), Some(WaitsFor::Turn));
    schedule.learn(d(5), Sign::Failing, at(1_020));
    schedule.remove(d(5));
    assert_eq!((schedule.due(at(1_020), 9), schedule.next_due()), (vec![], Some(at(3_020))), "twice as long");
    schedule.hurry(d(7), A);
    assert_eq!(ids(schedule.due(at(1_020), 9)), [7], "whoever is waited for does not wait");
    schedule.learn(d(7), Sign::Alive, at(1_030));
    schedule.remove(d(7));
    assert_eq!(ids(schedule.due(at(1_030), 9)), [6], "a sign of life ends the pause at once");
}

#[test]
fn what_is_urgent_goes_first_and_is_capped_all_the_same() {
    let mut schedule = with(2, &[(1, A), (2, A), (3, A)]);
    schedule.due(at(0), 0);
    for id in [7, 8, 9] {
        schedule.hurry(d(id), A);
    }
    schedule.remove(d(8));
    assert_eq!(ids(schedule.due(at(0), 9)), [7, 9]);
    assert_eq!(schedule.waits_for(d(1)), Some(WaitsFor::Turn));
    schedule.remove(d(7));
    assert_eq!(ids(schedule.due(at(0), 9)), [1]);
}

#[test]
fn a_limited_destination_rests_until_its_next_turn() {
    let mut schedule = with(9, &[(1, A), (2, A), (3, A), (4, B)]);
    schedule.limit(A, Rate { per_second: 2 });
    assert_eq!(ids(schedule.due(at(0), 9)), [1, 4, 2]);
    assert_eq!((schedule.next_due(), schedule.waits_for(d(3))), (Some(at(500)), Some(WaitsFor::Rate)));
    schedule.set_back(Duration::from_millis(400));
    assert_eq!(schedule.next_due(), Some(at(100)));
    assert_eq!(ids(schedule.due(at(100), 9)), [3]);
}

#[test]
fn of_many_destinations_those_that_matter_most_are_told_of() {
    let mut schedule = Schedule::new(Pacing { slots: 4, failures: Some(1), ..Pacing::default() });
    for (id, authority) in [(1, "c"), (2, "c"), (3, "d"), (4, "b"), (5, "a"), (6, "paused")] {
        schedule.wait(d(id), authority, at(if id == 5 { 90 } else { 0 }));
    }
    schedule.due(at(0), 9);
    schedule.learn(d(6), Sign::Failing, at(10));
    schedule.wait(d(6), "paused", at(5_000));
    let told = |limit| {
        let conditions = schedule.conditions(at(20), limit);
        conditions.into_iter().map(|condition| condition.authority).collect::<Vec<_>>()
    };
    assert_eq!(told(9), ["paused", "c", "b", "d", "a"]);
    assert_eq!(told(2), ["paused", "c"]);
    let paused = &schedule.conditions(at(20), 1)[0];
    assert_eq!((paused.paused_until, paused.failures, paused.slots, paused.waiting), (Some(at(1_010)), 1, 1, 1));
    assert_eq!(schedule.conditions(at(1_010), 9).last().map(|last| last.paused_until), Some(None), "it is over");
}
