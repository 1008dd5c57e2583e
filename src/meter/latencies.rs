//! Durations, counted so that percentiles can be told to within a sixteenth.

/// Steps for each doubling: a duration is known to within 1/16 of itself.
const STEPS: u32 = 16;

/// How many durations there were of about which length, in milliseconds. Only lengths that came are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Latencies(Vec<(u16, u32)>);

impl Latencies {
    pub(super) fn add(&mut self, millis: u32) {
        let slot = slot(millis);
        match self.0.binary_search_by_key(&slot, |(known, _)| *known) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(1),
            Err(at) => self.0.insert(at, (slot, 1)),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (slot, count) in &other.0 {
            match self.0.binary_search_by_key(slot, |(known, _)| *known) {
                Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(*count),
                Err(at) => self.0.insert(at, (*slot, *count)),
            }
        }
    }

    /// The smallest length, in milliseconds, that `percent` percent of the durations are not longer than; `None` when
    /// there are none.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.0.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut left = (all * percent).div_ceil(100).max(1);
        for (slot, count) in &self.0 {
            match left.checked_sub(u64::from(*count)) {
                Some(rest) if rest > 0 => left = rest,
                _ => return Some(longest(*slot)),
            }
        }
        None
    }
}

/// The first lengths have a slot each; after that each doubling has [`STEPS`].
fn slot(millis: u32) -> u16 {
    let doublings = millis.checked_ilog2().unwrap_or(0).saturating_sub(STEPS.ilog2());
    u16::try_from(doublings * STEPS + (millis >> doublings)).unwrap_or(u16::MAX)
}

/// The longest length that falls into a slot.
fn longest(slot: u16) -> u64 {
    let (slot, steps) = (u64::from(slot), u64::from(STEPS));
    let doublings = (slot / steps).saturating_sub(1);
    ((slot - doublings * steps + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_length_is_known_to_within_a_sixteenth(millis: u32) {
            let known = longest(slot(millis));
            prop_assert!(known >= u64::from(millis) && known <= u64::from(millis) + u64::from(millis) / 16, "{}", known);
            prop_assert!(millis == 0 || slot(millis) >= slot(millis - 1));
        }

        #[test]
        fn percentiles_are_those_of_the_sorted_durations(
            mut all in prop::collection::vec(0..100_000_u32, 1..200),
            percent in 1..=100_u64,
        ) {
            let (mut one, mut other) = (Latencies::default(), Latencies::default());
            for (place, millis) in all.iter().enumerate() {
                if place % 2 == 0 { one.add(*millis) } else { other.add(*millis) }
            }
            one.merge(&other);
            all.sort_unstable();
            let exact = all[usize::try_from((all.len() as u64 * percent).div_ceil(100)).unwrap() - 1];
            prop_assert_eq!(one.percentile(percent), Some(longest(slot(exact))));
        }
    }

    #[test]
    fn of_nothing_there_is_no_percentile() {
        assert_eq!(Latencies::default().percentile(99), None);
    }
}
