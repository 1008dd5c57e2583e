//! What lists are filtered by: sets of numbers, each as bitmaps in rows of their own.
//!
//! A set is a class: the jobs of one status, the deliveries of one kind, and those of one status as well. Commits come
//! between the reads of a list, so a list reads no two classes between which an entry may move. Jobs and deliveries are numbered by
//! the position at which they came to be, dead letters by their own number. A row holds one block of 512 numbers, so that
//! a commit of hundreds of jobs, which lie close together, changes a handful of rows; a block in which nothing is left
//! has no row, and a page is found by reading as many rows as it has entries at most.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::domain::delivery::DeliveryStatus;
use crate::domain::job::Status;
use crate::domain::webhook::EventKind;
use crate::log::{LogError, LogReader, Order, RowWrite};

const WORDS: usize = 8;

/// Numbers in one block.
const BLOCK: u64 = 64 * WORDS as u64;

/// Blocks that are read ahead of a walk.
const AHEAD: usize = 4;

/// A set of numbers: the beginning of its rows' keys, of one length for all sets of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class(Vec<u8>);

impl Class {
    pub(super) fn jobs(status: Status) -> Self {
        Self(vec![b'i', b'j', status as u8])
    }

    pub(super) fn deliveries(status: DeliveryStatus, kind: EventKind) -> Self {
        Self(vec![b'i', b'd', status as u8, kind as u8])
    }

    /// Whatever their status: it may change while a list is read, and the list is to see them all the same.
    pub(super) fn deliveries_of(kind: EventKind) -> Self {
        Self(vec![b'i', b'k', kind as u8])
    }

    pub(super) fn letters(kind: EventKind, resolved: bool) -> Self {
        Self(vec![b'i', b'x', kind as u8, u8::from(resolved)])
    }

    /// Whether or not a retry has succeeded, for the same reason.
    pub(super) fn letters_of(kind: EventKind) -> Self {
        Self(vec![b'i', b'l', kind as u8])
    }

    /// By a hash, for a key has to be short; 128 bits of SHA-256 are never those of two URLs.
    pub(super) fn letters_to(url: &str) -> Self {
        Self([b"iu", &Sha256::digest(url)[..16]].concat())
    }

    fn key(&self, block: u64) -> Vec<u8> {
        [&self.0[..], &block.to_be_bytes()].concat()
    }
}

/// Which numbers of a block are in a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    /// The block of `number`, with that alone in it.
    pub(super) fn only(number: u64) -> (u64, Self) {
        let mut bits = Self::default();
        bits.put(number % BLOCK, true);
        (number / BLOCK, bits)
    }

    fn put(&mut self, bit: u64, is_in: bool) {
        let (word, mask) = (&mut self.0[(bit / 64) as usize % WORDS], 1 << (bit % 64));
        *word = if is_in { *word | mask } else { *word & !mask };
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(super) fn count(self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// What of the block numbered `block` lies in `range`.
    pub(super) fn within(self, block: u64, range: &std::ops::Range<u64>) -> Self {
        let first = block * BLOCK;
        if range.start <= first && first + BLOCK <= range.end {
            return self;
        }
        let mut within = Self::default();
        for number in self.numbers(block).filter(|number| range.contains(number)) {
            within.put(number - first, true);
        }
        within
    }

    /// The numbers that a block numbered `block` has with these bits, largest first.
    pub(super) fn numbers(self, block: u64) -> impl Iterator<Item = u64> {
        let set = move |bit: &u64| self.0[(bit / 64) as usize] >> (bit % 64) & 1 == 1;
        (0..BLOCK).rev().filter(set).map(move |bit| block * BLOCK + bit)
    }

    fn read(key: &[u8], bytes: &[u8]) -> Result<Self, LogError> {
        let wrong = || LogError::corrupt(format!("row {}", key.escape_ascii()), "it is no block of an index");
        let words: &[[u8; 8]; WORDS] = bytes.as_chunks().0.try_into().map_err(|_| wrong())?;
        if bytes.len() == 8 * WORDS { Ok(Self(words.map(u64::from_be_bytes))) } else { Err(wrong()) }
    }

    fn write(self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_be_bytes()).collect()
    }
}

/// Changes to sets, gathered so that each row is written once.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<Vec<u8>, Vec<(u64, bool)>>);

impl Changes {
    pub(super) fn add(&mut self, class: &Class, number: u64) {
        self.put(class, number, true);
    }

    pub(super) fn remove(&mut self, class: &Class, number: u64) {
        self.put(class, number, false);
    }

    fn put(&mut self, class: &Class, number: u64, is_in: bool) {
        self.0.entry(class.key(number / BLOCK)).or_default().push((number % BLOCK, is_in));
    }

    /// The rows after the changes; `current` gives them as they are.
    pub(super) fn rows(
        self,
        current: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, LogError>,
    ) -> Result<Vec<RowWrite>, LogError> {
        let row = |(key, changes): (Vec<u8>, Vec<(u64, bool)>)| {
            let before = current(&key)?.map_or(Ok(Bits::default()), |bytes| Bits::read(&key, &bytes))?;
            let mut bits = before;
            for (bit, is_in) in changes {
                bits.put(bit, is_in);
            }
            let value = (!bits.is_empty()).then(|| bits.write());
            Ok((bits != before).then_some(RowWrite { key, value }))
        };
        self.0.into_iter().filter_map(|change| row(change).transpose()).collect()
    }
}

/// Reads sets.
#[derive(Clone, Copy)]
pub(super) struct Index<'a>(pub(super) &'a dyn LogReader);

impl<'a> Index<'a> {
    /// One block of a set.
    pub(super) fn block(self, class: &Class, block: u64) -> Result<Bits, LogError> {
        let key = class.key(block);
        self.0.row(&key)?.map_or(Ok(Bits::default()), |bytes| Bits::read(&key, &bytes))
    }

    /// Whether any of `classes` has `number` in it.
    pub(super) fn holds(self, classes: &[Class], number: u64) -> Result<bool, LogError> {
        let (block, only) = Bits::only(number);
        for class in classes {
            if !self.block(class, block)?.and(only).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The blocks of the union of `classes` that have numbers below `before`, last first.
    pub(super) fn blocks(self, classes: Vec<Class>, before: u64) -> Blocks<'a> {
        let sources = classes.into_iter().map(|class| {
            let after = class.key(before.saturating_sub(1) / BLOCK + 1);
            Source { class, after: Some(after), ahead: VecDeque::new() }
        });
        Blocks { index: self, sources: sources.collect(), before }
    }

    /// The numbers of the union of `classes` below `before`, largest first.
    pub(super) fn numbers(self, classes: Vec<Class>, before: u64) -> impl Iterator<Item = Result<u64, LogError>> + 'a {
        self.blocks(classes, before).flat_map(|read| {
            let (numbers, error) = match read {
                Ok((block, bits)) => (Some(bits.numbers(block)), None),
                Err(error) => (None, Some(Err(error))),
            };
            numbers.into_iter().flatten().map(Ok).chain(error)
        })
    }
}

/// A walk through the blocks of several sets at once.
pub(super) struct Blocks<'a> {
    index: Index<'a>,
    sources: Vec<Source>,
    before: u64,
}

struct Source {
    class: Class,
    /// The key after which to read on; `None` at the end.
    after: Option<Vec<u8>>,
    ahead: VecDeque<(u64, Bits)>,
}

impl Source {
    /// The next block, last first, without taking it.
    fn peek(&mut self, index: Index<'_>) -> Result<Option<u64>, LogError> {
        if self.ahead.is_empty()
            && let Some(after) = self.after.take()
        {
            let rows = index.0.rows(&self.class.0, Order::Descending, Some(&after), AHEAD)?;
            self.after = rows.last().filter(|_| rows.len() == AHEAD).map(|(key, _)| key.clone());
            for (key, bytes) in rows {
                let wrong = || LogError::corrupt(format!("row {}", key.escape_ascii()), "its key is no block's");
                let block = key.strip_prefix(&self.class.0[..]).and_then(|block| block.try_into().ok());
                let block = u64::from_be_bytes(block.ok_or_else(wrong)?);
                self.ahead.push_back((block, Bits::read(&key, &bytes)?));
            }
        }
        Ok(self.ahead.front().map(|(block, _)| *block))
    }
}

impl Blocks<'_> {
    fn read(&mut self) -> Result<Option<(u64, Bits)>, LogError> {
        let mut last = None;
        for source in &mut self.sources {
            last = last.max(source.peek(self.index)?);
        }
        let Some(block) = last else { return Ok(None) };
        let mut bits = Bits::default();
        for source in &mut self.sources {
            if source.ahead.front().is_some_and(|(at, _)| *at == block) {
                bits = source.ahead.pop_front().map_or(bits, |(_, more)| bits.or(more));
            }
        }
        Ok(Some((block, bits.within(block, &(0..self.before)))))
    }
}

impl Iterator for Blocks<'_> {
    type Item = Result<(u64, Bits), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.sources.clear();
        }
        read.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Seq;
    use crate::log::memory::MemoryLog;
    use crate::log::{Commit, EventLog};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn class(n: usize) -> Class {
        Class::jobs(Status::ALL[n])
    }

    proptest! {
        #[test]
        fn sets_are_what_was_put_into_them(
            commits in prop::collection::vec(prop::collection::vec((0..3_usize, 0..5_000_u64, any::<bool>()), 0..40), 0..8),
            before in 0..6_000_u64,
            asked in prop::collection::vec(0..3_usize, 1..3),
        ) {
            let mut log = MemoryLog::new();
            let mut sets = [const { BTreeSet::new() }; 3];
            for commit in commits {
                let mut changes = Changes::default();
                for (set, number, is_in) in commit {
                    if is_in {
                        changes.add(&class(set), number);
                        sets[set].insert(number);
                    } else {
                        changes.remove(&class(set), number);
                        sets[set].remove(&number);
                    }
                }
                let reader = log.reader();
                let rows = changes.rows(|key| reader.row(key)).unwrap();
                log.commit(&Commit::new(Seq::ZERO, &[], &rows)).unwrap();
            }
            let reader = log.reader();
            let index = Index(&*reader);
            let expected: BTreeSet<u64> =
                asked.iter().flat_map(|set| sets[*set].iter().copied()).filter(|number| *number < before).collect();
            let classes: Vec<_> = asked.iter().map(|set| class(*set)).collect();
            let numbers: Result<Vec<u64>, _> = index.numbers(classes.clone(), before).collect();
            prop_assert_eq!(numbers.unwrap(), expected.iter().rev().copied().collect::<Vec<_>>());
            let counted: u64 = index.blocks(classes, before).map(|block| block.unwrap().1.count()).sum();
            prop_assert_eq!(counted, expected.len() as u64);
            if sets.iter().all(BTreeSet::is_empty) {
                prop_assert!(reader.rows(b"i", Order::Ascending, None, 1).unwrap().is_empty(), "nothing is left over");
            }
        }
    }
}
