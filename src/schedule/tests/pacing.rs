//! The schedule beside a plain model, with everything that slows a destination down.

use super::*;
use crate::schedule::pace::{Pace, Start};

const LANES: [&str; 3] = ["https://a:1", "https://b:1", "http://a:1"];

/// Longer than any wait here.
const DAY: i64 = 86_400_000;

/// What may happen to it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait {
        id: u128,
        lane: usize,
        in_millis: i64,
        held: bool,
    },
    Hurry {
        id: u128,
        lane: usize,
    },
    Remove {
        id: u128,
    },
    /// One of those in flight ends, and may wait for another attempt.
    End {
        pick: usize,
        sign: Sign,
        again: Option<i64>,
    },
    Limit {
        lane: usize,
        per_second: u32,
    },
    Due {
        slots: usize,
    },
    Pass {
        millis: i64,
    },
    SetBack {
        millis: u64,
    },
}

fn sign() -> impl Strategy<Value = Sign> {
    let asked = (1..5_000_u64).prop_map(|millis| Sign::Busy(Some(Duration::from_millis(millis))));
    prop_oneof![
        3 => Just(Sign::Alive),
        5 => Just(Sign::Failing),
        1 => Just(Sign::Unknown),
        1 => Just(Sign::Busy(None)),
        1 => asked,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..16_u128;
    let lane = || 0..LANES.len();
    prop_oneof![
        8 => (id(), lane(), 0..400_i64, any::<bool>())
            .prop_map(|(id, lane, in_millis, held)| Step::Wait { id, lane, in_millis, held }),
        2 => (id(), lane()).prop_map(|(id, lane)| Step::Hurry { id, lane }),
        2 => id().prop_map(|id| Step::Remove { id }),
        8 => (0..16_usize, sign(), proptest::option::of(0..2_000_i64))
            .prop_map(|(pick, sign, again)| Step::End { pick, sign, again }),
        1 => (lane(), 1..30_u32).prop_map(|(lane, per_second)| Step::Limit { lane, per_second }),
        8 => (0..9_usize).prop_map(|slots| Step::Due { slots }),
        4 => prop_oneof![0..50_i64, 0..3_000_i64].prop_map(|millis| Step::Pass { millis }),
        1 => (0..3_000_u64).prop_map(|millis| Step::SetBack { millis }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Waiting(Timestamp),
    Ready,
    Urgent,
    InFlight,
}

/// A table, and the pace of each lane, which is never forgotten. A pace has tests of its own.
struct Model {
    pacing: Pacing,
    now: Timestamp,
    table: BTreeMap<u128, (usize, Stands)>,
    paces: [Pace; 3],
    /// The limit of each lane, and when what was not urgent started since it was set: on a clock that is never set back.
    rates: [(Option<Rate>, Vec<i64>); 3],
    passed: i64,
}

impl Model {
    fn new(pacing: Pacing) -> Self {
        let rates = [(); 3].map(|()| (pacing.rate, Vec::new()));
        Self { pacing, now: at(1_000_000), table: BTreeMap::new(), paces: [Pace::default(); 3], rates, passed: 0 }
    }

    fn count(&self, lane: usize, stands: Stands) -> usize {
        self.table.values().filter(|entry| **entry == (lane, stands)).count()
    }

    /// Whether a lane could start one more attempt at that time.
    fn could(&self, lane: usize, now: Timestamp) -> bool {
        let in_flight = self.count(lane, Stands::InFlight);
        let is_due = |stands: &Stands| match stands {
            Stands::Waiting(due) => *due <= now,
            Stands::Ready => true,
            Stands::Urgent | Stands::InFlight => false,
        };
        let is_due = self.table.values().any(|(of, stands)| *of == lane && is_due(stands));
        let is_urgent = self.count(lane, Stands::Urgent) > 0 && in_flight < self.pacing.slots;
        is_urgent || (is_due && self.paces[lane].start(in_flight, now, &self.pacing) == Start::Now)
    }

    fn in_flight(&self) -> Vec<u128> {
        self.table.iter().filter(|(_, (_, stands))| *stands == Stands::InFlight).map(|(id, _)| *id).collect()
    }

    fn make_ready(&mut self) {
        for (_, stands) in self.table.values_mut() {
            if matches!(stands, Stands::Waiting(due) if *due <= self.now) {
                *stands = Stands::Ready;
            }
        }
    }

    /// Follows a choice, and checks each of it.
    fn follow(&mut self, chosen: &[DeliveryId], slots: usize) {
        assert!(chosen.len() <= slots);
        for DeliveryId(id) in chosen {
            let (lane, stands) = self.table[id];
            let in_flight = self.count(lane, Stands::InFlight);
            assert!(in_flight < self.pacing.slots, "never more in flight than slots");
            match stands {
                Stands::Urgent => {}
                Stands::Ready => {
                    let start = self.paces[lane].start(in_flight, self.now, &self.pacing);
                    assert_eq!(start, Start::Now, "{id}: a pause, a slow start and a rate are kept");
                    self.check_rate(lane);
                }
                Stands::Waiting(_) | Stands::InFlight => panic!("{id} is not to be started: {stands:?}"),
            }
            self.paces[lane].started(self.now, &self.pacing);
            self.table.insert(*id, (lane, Stands::InFlight));
        }
        let idle = (0..LANES.len()).find(|lane| self.could(*lane, self.now));
        assert!(chosen.len() == slots || idle.is_none(), "no slot stays free while lane {idle:?} could use it");
    }

    /// However long one looks: a second's worth at once, and then the rate.
    fn check_rate(&mut self, lane: usize) {
        let (Some(rate), starts) = &mut self.rates[lane] else { return };
        starts.push(self.passed);
        let most = |millis: i64| i64::from(rate.per_second) * (millis + 1_000) / 1_000 + 1;
        for (later, first) in starts.iter().rev().enumerate() {
            let started = i64::try_from(later).unwrap() + 1;
            assert!(started <= most(self.passed - first), "{started} in {} ms", self.passed - first);
        }
    }

    /// The schedule says the same, and tells of every moment at which something could start.
    fn compare(&self, schedule: &Schedule) {
        let count = |is: fn(&Stands) -> bool| self.table.values().filter(|(_, stands)| is(stands)).count();
        let expected = Backlog {
            waiting: count(|stands| matches!(stands, Stands::Waiting(_))),
            ready: count(|stands| matches!(stands, Stands::Ready | Stands::Urgent)),
            in_flight: count(|stands| *stands == Stands::InFlight),
        };
        assert_eq!((schedule.backlog(), schedule.len()), (expected, self.table.len()));
        let in_flight: BTreeSet<u128> = schedule.in_flight().map(|delivery| delivery.0).collect();
        assert_eq!(in_flight, self.in_flight().into_iter().collect());
        for later in [0, 1, 30, 200, 700, 1_000, 3_000, 9_000, DAY] {
            let then = at(self.now.as_millis() + later);
            let told = schedule.is_ready() || schedule.next_due().is_some_and(|due| due <= then);
            let could = (0..LANES.len()).find(|lane| self.could(*lane, then));
            assert!(told || could.is_none(), "lane {could:?} could start one in {later} ms, and nobody is woken");
        }
        let conditions = schedule.conditions(self.now, usize::MAX);
        for (lane, authority) in LANES.into_iter().enumerate() {
            let told = conditions.iter().find(|condition| condition.authority == authority);
            let count =
                |is: fn(&Stands) -> bool| self.table.values().filter(|(of, stands)| *of == lane && is(stands)).count();
            let expected = (
                count(|stands| matches!(stands, Stands::Waiting(_))),
                count(|stands| matches!(stands, Stands::Ready | Stands::Urgent)),
                count(|stands| *stands == Stands::InFlight),
                self.paces[lane].paused_until(self.now),
            );
            let told =
                told.map_or((0, 0, 0, None), |told| (told.waiting, told.ready, told.in_flight, told.paused_until));
            assert_eq!(told, expected, "{authority}");
        }
        for id in self.table.keys() {
            let waits = schedule.waits_for(d(*id));
            assert_eq!(waits.is_none(), self.table[id].1 == Stands::InFlight);
        }
    }
}

fn take(schedule: &mut Schedule, model: &mut Model, step: Step) {
    let now = model.now;
    match step {
        Step::Wait { id, lane, in_millis, held } => {
            let due = at(now.as_millis() + in_millis);
            if held {
                schedule.hold_back(d(id), LANES[lane], due);
            } else {
                schedule.wait(d(id), LANES[lane], due);
            }
            model.table.insert(id, (lane, Stands::Waiting(due)));
        }
        Step::Hurry { id, lane } => {
            schedule.hurry(d(id), LANES[lane]);
            model.table.insert(id, (lane, Stands::Urgent));
        }
        Step::Remove { id } => {
            schedule.remove(d(id));
            model.table.remove(&id);
        }
        Step::End { pick, sign, again } => {
            let in_flight = model.in_flight();
            let Some(id) = in_flight.get(pick % in_flight.len().max(1)).copied() else { return };
            let lane = model.table[&id].0;
            schedule.learn(d(id), sign, now);
            model.paces[lane].ended(sign, now, &model.pacing);
            match again {
                Some(in_millis) => take(schedule, model, Step::Wait { id, lane, in_millis, held: false }),
                None => take(schedule, model, Step::Remove { id }),
            }
        }
        Step::Limit { lane, per_second } => {
            schedule.limit(LANES[lane], Rate { per_second });
            model.paces[lane].limit(Rate { per_second });
            model.rates[lane] = (Some(Rate { per_second }), Vec::new());
        }
        Step::Due { slots } => {
            model.make_ready();
            model.follow(&schedule.due(now, slots), slots);
        }
        Step::Pass { millis } => {
            model.now = at(now.as_millis() + millis);
            model.passed += millis;
        }
        Step::SetBack { millis } => {
            let back = i64::try_from(millis).unwrap();
            model.now = at(now.as_millis() - back);
            schedule.set_back(Duration::from_millis(millis));
            model.paces.iter_mut().for_each(|pace| pace.set_back(back));
            for (_, stands) in model.table.values_mut() {
                if let Stands::Waiting(due) = stands {
                    *due = at(due.as_millis() - back);
                }
            }
        }
    }
}

/// From here on everything answers and time passes: whatever is there is started, and nothing is left.
fn come_to_rest(schedule: &mut Schedule, model: &mut Model) {
    let end = model.now.as_millis() + DAY;
    while !model.table.is_empty() {
        take(schedule, model, Step::Due { slots: 99 });
        model.compare(schedule);
        assert!(!schedule.is_ready(), "whatever could be started was");
        while !model.in_flight().is_empty() {
            take(schedule, model, Step::End { pick: 0, sign: Sign::Alive, again: None });
        }
        if !schedule.is_ready() && !model.table.is_empty() {
            let next = schedule.next_due().expect("what is left waits for something").max(model.now);
            take(schedule, model, Step::Pass { millis: next.as_millis() - model.now.as_millis() });
        }
        assert!(model.now.as_millis() < end, "nothing waits for ever");
    }
    assert!(schedule.due(model.now, 99).is_empty() && schedule.is_empty() && !schedule.is_ready());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_paced_schedule_does_what_the_model_allows(
        slots in 1..5_usize,
        failures in proptest::option::of(1..4_u32),
        rate in proptest::option::of((1..40_u32).prop_map(|per_second| Rate { per_second })),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let pacing = Pacing { slots, failures, longest_pause: Duration::from_secs(8), rate };
        let mut schedule = Schedule::new(pacing);
        let mut model = Model::new(pacing);
        for step in steps {
            take(&mut schedule, &mut model, step);
            model.compare(&schedule);
        }
        come_to_rest(&mut schedule, &mut model);
    }
}

/// All slots are taken, the destination is paused, and somebody waits.
#[test]
fn what_is_urgent_starts_as_soon_as_a_slot_of_a_paused_destination_is_free() {
    let mut schedule = Schedule::new(Pacing { slots: 2, failures: Some(1), ..Pacing::default() });
    for id in 1..=4 {
        schedule.wait(d(id), A, at(0));
    }
    assert_eq!(ids(schedule.due(at(0), 9)), [1, 2]);
    schedule.hurry(d(7), A);
    schedule.learn(d(1), Sign::Busy(Some(Duration::from_mins(1))), at(10));
    schedule.remove(d(1));
    assert!(schedule.is_ready());
    assert_eq!(ids(schedule.due(at(10), 9)), [7]);
}

#[test]
fn a_limit_of_its_own_outlasts_quiet_times_and_takes_effect_at_once() {
    let mut schedule = with(9, &[(1, A), (2, A), (3, A)]);
    schedule.limit(A, Rate { per_second: 1 });
    assert_eq!((ids(schedule.due(at(0), 9)), schedule.next_due()), (vec![1], Some(at(1_000))));
    schedule.limit(A, Rate { per_second: 10 });
    assert_eq!(schedule.next_due(), Some(at(100)), "it rests no longer than that asks for");
    assert_eq!(ids(schedule.due(at(200), 9)), [2, 3]);
    (1..=3).for_each(|id| schedule.remove(d(id)));
    schedule.due(at(1_000_000), 9);
    schedule.limit(A, Rate { per_second: 1 });
    schedule.wait(d(4), A, at(2_000_000));
    schedule.wait(d(5), A, at(2_000_000));
    schedule.due(at(1_500_000), 9);
    assert_eq!(ids(schedule.due(at(2_000_000), 9)), [4]);
}

#[test]
fn what_was_superseded_while_its_destination_is_paused_is_not_kept() {
    let mut schedule = Schedule::new(Pacing { failures: Some(1), ..Pacing::default() });
    schedule.wait(d(0), A, at(0));
    schedule.due(at(0), 9);
    schedule.learn(d(0), Sign::Busy(Some(Duration::from_hours(1))), at(0));
    for id in 1..10_000 {
        schedule.wait(d(id), A, at(1));
        assert_eq!(schedule.due(at(1), 9), []);
        schedule.remove(d(id));
        assert!(schedule.lanes.values().all(|queue| queue.ready.len() <= 2 * GONE));
    }
}
