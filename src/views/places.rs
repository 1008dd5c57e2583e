//! What came to be at which position of the log: jobs with their registration, deliveries when they are scheduled. Lists
//! go by it.
//!
//! A row holds a block of 64 positions, for the storage engine keeps a page, and a place in memory, for each handful of rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::id::{DeliveryId, JobId, Seq};
use crate::log::{LogError, LogReader, Order, RowWrite, codec};

/// Positions in one block.
const BLOCK: u64 = 64;

/// Blocks that are read at once.
const AHEAD: usize = 8;

/// What came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Newcomer {
    Job(JobId),
    Delivery(DeliveryId),
}

/// The newcomers of a block, each with its place in it, in their order.
type Block = Vec<(u8, Newcomer)>;

/// The place of a position in its block.
fn place(at: Seq) -> u8 {
    u8::try_from(at.0 % BLOCK).unwrap_or(u8::MAX)
}

fn key(block: u64) -> Vec<u8> {
    [&b"l"[..], &block.to_be_bytes()].concat()
}

fn read(key: &[u8], bytes: &[u8]) -> Result<Block, LogError> {
    codec::decode(bytes).map_err(|unreadable| unreadable.at(format!("row {}", key.escape_ascii())))
}

/// Who came to be and who went, gathered so that each row is written once.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<u64, BTreeMap<u8, Option<Newcomer>>>);

impl Changes {
    pub(super) fn add(&mut self, at: Seq, newcomer: Newcomer) {
        self.put(at, Some(newcomer));
    }

    pub(super) fn remove(&mut self, at: Seq) {
        self.put(at, None);
    }

    fn put(&mut self, at: Seq, newcomer: Option<Newcomer>) {
        self.0.entry(at.0 / BLOCK).or_default().insert(place(at), newcomer);
    }

    /// The rows after the changes, none for a block in which nothing is left; `current` gives those as they are.
    pub(super) fn rows(
        self,
        current: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, LogError>,
    ) -> Result<Vec<RowWrite>, LogError> {
        let row = |(block, changes): (u64, BTreeMap<u8, Option<Newcomer>>)| {
            let key = key(block);
            let mut all = current(&key)?.map_or(Ok(Block::new()), |bytes| read(&key, &bytes))?;
            all.retain(|(place, _)| !changes.contains_key(place));
            all.extend(changes.into_iter().filter_map(|(place, newcomer)| Some((place, newcomer?))));
            all.sort_unstable_by_key(|(place, _)| *place);
            Ok(RowWrite { value: (!all.is_empty()).then(|| codec::encode(&all)), key })
        };
        self.0.into_iter().map(row).collect()
    }
}

/// Reads places. It remembers the block that it read last: those that are asked for one after another lie together.
pub(super) struct Places<'a> {
    reader: &'a dyn LogReader,
    last: Option<(u64, Block)>,
}

impl<'a> Places<'a> {
    pub(super) const fn new(reader: &'a dyn LogReader) -> Self {
        Self { reader, last: None }
    }

    /// What came to be at position `at`; `None` when it is not there any more.
    pub(super) fn newcomer(&mut self, at: Seq) -> Result<Option<Newcomer>, LogError> {
        let block = at.0 / BLOCK;
        if self.last.as_ref().is_none_or(|(number, _)| *number != block) {
            let key = key(block);
            let bytes = self.reader.row(&key)?;
            self.last = Some((block, bytes.map_or(Ok(Block::new()), |bytes| read(&key, &bytes))?));
        }
        let found = self.last.iter().flat_map(|(_, block)| block).find(|(is, _)| *is == place(at));
        Ok(found.map(|(_, newcomer)| newcomer.clone()))
    }

    /// Everything that came to be before position `before`, newest first.
    pub(super) fn newest_first(self, before: u64) -> impl Iterator<Item = Result<(Seq, Newcomer), LogError>> + 'a {
        let reader = self.reader;
        let mut after = key((before / BLOCK).saturating_add(1));
        let mut ahead: Vec<(Seq, Newcomer)> = Vec::new();
        std::iter::from_fn(move || {
            while ahead.is_empty() {
                match blocks_before(reader, &after, before) {
                    Ok(None) => return None,
                    Ok(Some((first, newcomers))) => (after, ahead) = (first, newcomers),
                    Err(error) => return Some(Err(error)),
                }
            }
            ahead.pop().map(Ok)
        })
    }
}

/// The key of the first of some blocks, and what came to be in them, oldest first.
type Blocks = (Vec<u8>, Vec<(Seq, Newcomer)>);

/// The newcomers of a few blocks before the key `after`, as far as they came to be before position `before`; `None` when
/// there are no blocks.
fn blocks_before(reader: &dyn LogReader, after: &[u8], before: u64) -> Result<Option<Blocks>, LogError> {
    let rows = reader.rows(b"l", Order::Descending, Some(after), AHEAD)?;
    let Some((first, _)) = rows.last() else { return Ok(None) };
    let mut newcomers = Vec::new();
    for (key, bytes) in rows.iter().rev() {
        let start = key.last_chunk().map_or(0, |block| u64::from_be_bytes(*block)).saturating_mul(BLOCK);
        let all = read(key, bytes)?.into_iter().map(|(place, newcomer)| (Seq(start + u64::from(place)), newcomer));
        newcomers.extend(all.filter(|(at, _)| at.0 < before));
    }
    Ok(Some((first.clone(), newcomers)))
}
