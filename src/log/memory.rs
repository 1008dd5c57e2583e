//! A log in memory, for tests and simulations: it fails where it is told to, and forgets what was not durable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{EventLog, LogError, LogReader, Order, Row, RowWrite, check_commit, codec};
use crate::domain::event::Envelope;
use crate::domain::id::Seq;

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and was not stored.
    Lost,
    /// It fails, but was stored.
    Stored,
}

#[derive(Debug, Default)]
struct Store {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The end of what is stored.
    stored: Seq,
    /// The end of what is known to be stored: what readers see.
    tail: Seq,
}

/// A log in memory. Its store outlives it, as a directory outlives a process: open another log on the same one.
#[derive(Debug, Default)]
pub struct MemoryLog {
    store: Arc<RwLock<Store>>,
    fault: Option<Fault>,
    poisoned: bool,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a process finds that opens the log after this one has ended, in whatever way.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut store = self.store.write();
        store.tail = store.stored;
        drop(store);
        Self { store: Arc::clone(&self.store), ..Self::default() }
    }

    /// Makes the next commit fail.
    pub const fn fail_next_commit(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Changes a stored row as damage would.
    pub fn damage_row(&mut self, key: &[u8], damage: impl FnOnce(&mut Vec<u8>)) {
        if let Some(value) = self.store.write().values.get_mut(&codec::row_key(key)) {
            damage(value);
        }
    }

    /// Changes the stored record of an event as damage would; when `damage` gives `false`, it is removed.
    pub fn damage_event(&mut self, seq: Seq, damage: impl FnOnce(&mut Vec<u8>) -> bool) {
        let mut store = self.store.write();
        let held = store.values.range_mut(codec::frame_key(seq).to_vec()..).next();
        let removed = held.and_then(|(key, value)| (!damage(value)).then(|| key.clone()));
        if let Some(key) = removed {
            store.values.remove(&key);
        }
    }
}

impl EventLog for MemoryLog {
    fn commit(&mut self, after: Seq, events: &[Envelope], rows: &[RowWrite]) -> Result<Seq, LogError> {
        if self.poisoned {
            return Err(LogError::Indeterminate { why: "an earlier commit failed".into() });
        }
        let mut store = self.store.write();
        check_commit(store.stored, after, events)?;
        let sealed = codec::seal_commit(events, rows)?;
        let fault = self.fault.take();
        self.poisoned = fault.is_some();
        if fault != Some(Fault::Lost) {
            for (key, value) in sealed {
                match value {
                    Some(value) => store.values.insert(key, value),
                    None => store.values.remove(&key),
                };
            }
            store.stored = events.last().map_or(after, |event| event.seq);
        }
        match fault {
            None => {
                store.tail = store.stored;
                Ok(store.stored)
            }
            Some(fault) => Err(LogError::Indeterminate { why: format!("scripted: {fault:?}") }),
        }
    }

    fn tail(&self) -> Seq {
        self.store.read().tail
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(MemoryReader(Arc::clone(&self.store)))
    }
}

struct MemoryReader(Arc<RwLock<Store>>);

impl LogReader for MemoryReader {
    fn tail(&self) -> Seq {
        self.0.read().tail
    }

    fn events(&self, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError> {
        let store = self.0.read();
        let last = Seq(store.tail.0.min(after.0.saturating_add(limit as u64)));
        if last <= after {
            return Ok(Vec::new());
        }
        let keys = codec::frame_key(after.next()).to_vec()..=codec::frame_key(Seq(u64::MAX)).to_vec();
        let frames = store.values.range(keys).map(Ok);
        codec::events(frames, after, last)
    }

    fn neighbours(&self, seq: Seq) -> Result<Vec<Envelope>, LogError> {
        let store = self.0.read();
        let keys = codec::frame_key(seq).to_vec()..=codec::frame_key(Seq(u64::MAX)).to_vec();
        codec::neighbours(store.values.range(keys).next())
    }

    fn event(&self, seq: Seq) -> Result<Option<Envelope>, LogError> {
        let store = self.0.read();
        let keys = codec::frame_key(seq).to_vec()..=codec::frame_key(Seq(u64::MAX)).to_vec();
        codec::event(store.values.range(keys).next(), seq)
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        let key = codec::row_key(key);
        self.0.read().values.get(&key).map(|value| codec::open_row(&key, value)).transpose()
    }

    fn keys(&self, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let store = self.0.read();
        let prefix = codec::row_key(prefix);
        let found = store.values.range(prefix.clone()..).map(|(key, _)| key);
        Ok(found.take_while(|key| key.starts_with(&prefix)).take(limit).map(|key| key[1..].to_vec()).collect())
    }

    fn rows(&self, prefix: &[u8], order: Order, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError> {
        let store = self.0.read();
        let prefix = codec::row_key(prefix);
        let after = after.map(codec::row_key);
        let open = |(key, value): (&Vec<u8>, &Vec<u8>)| Ok((key[1..].to_vec(), codec::open_row(key, value)?));
        let with_prefix = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(&prefix);
        let from = match (order, &after) {
            (Order::Ascending, Some(after)) if *after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(&prefix),
        };
        let range = store.values.range::<Vec<u8>, _>((from, Bound::Unbounded)).take_while(with_prefix);
        match order {
            Order::Ascending => range.take(limit).map(open).collect(),
            Order::Descending => {
                let before = |key: &Vec<u8>| after.as_ref().is_none_or(|after| key < after);
                let mut rows: Vec<_> = range.filter(|(key, _)| before(key)).collect();
                rows.reverse();
                rows.into_iter().take(limit).map(open).collect()
            }
        }
    }
}
