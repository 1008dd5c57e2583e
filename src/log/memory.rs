//! A log in memory, for tests and simulations: it fails where it is told to, and forgets what was not durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::chain::Head;
use super::store::{See, Store, find_head, prepare};
use super::{Commit, EventLog, LogError, LogReader, Order, codec};
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
struct Kept {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The end of what is known to be stored: what readers see.
    head: Head,
}

/// A log in memory. Its store outlives it, as a directory outlives a process: open another log on the same one.
#[derive(Debug, Default)]
pub struct MemoryLog {
    store: Arc<RwLock<Kept>>,
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
        let found = find_head(&*self.store.read());
        if let Ok(head) = found {
            self.store.write().head = head;
        }
        Self { store: Arc::clone(&self.store), ..Self::default() }
    }

    /// Makes the next commit fail.
    pub const fn fail_next_commit(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Changes a stored row as damage would.
    pub fn damage_row(&self, key: &[u8], damage: impl FnOnce(&mut Vec<u8>)) {
        self.damage_record(&codec::row_key(key), |value| {
            damage(value);
            true
        });
    }

    /// Changes the stored record of an event as damage would; when `damage` gives `false`, it is removed.
    pub fn damage_event(&self, seq: Seq, damage: impl FnOnce(&mut Vec<u8>) -> bool) {
        let held = self.store.read().values.range(codec::frame_key(seq)..).next().map(|(key, _)| key.clone());
        if let Some(key) = held {
            self.damage_record(&key, damage);
        }
    }

    /// Changes what is stored under a key as damage would; when `damage` gives `false`, it is removed.
    pub fn damage_record(&self, key: &[u8], damage: impl FnOnce(&mut Vec<u8>) -> bool) {
        let mut store = self.store.write();
        if store.values.get_mut(key).is_some_and(|value| !damage(value)) {
            store.values.remove(key);
        }
    }
}

impl EventLog for MemoryLog {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        if self.poisoned {
            return Err(LogError::Indeterminate { why: "an earlier commit failed".into() });
        }
        let mut store = self.store.write();
        let (sealed, head) = prepare(&*store, store.head, commit)?;
        let fault = self.fault.take();
        self.poisoned = fault.is_some();
        if fault != Some(Fault::Lost) {
            for (key, value) in sealed {
                match value {
                    Some(value) => store.values.insert(key, value),
                    None => store.values.remove(&key),
                };
            }
        }
        match fault {
            None => {
                store.head = head;
                Ok(head.seq)
            }
            Some(fault) => Err(LogError::Indeterminate { why: format!("scripted: {fault:?}") }),
        }
    }

    fn head(&self) -> Head {
        self.store.read().head
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(MemoryReader(Arc::clone(&self.store)))
    }
}

impl Store for Kept {
    fn head(&self) -> Head {
        self.head
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.values.get(key).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, see: &mut See<'_>) -> Result<(), LogError> {
        let mut range = self.values.range(start.to_vec()..end.to_vec());
        while let Some((key, value)) = match order {
            Order::Ascending => range.next(),
            Order::Descending => range.next_back(),
        } {
            if !see(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

struct MemoryReader(Arc<RwLock<Kept>>);

impl Store for MemoryReader {
    fn head(&self) -> Head {
        self.0.read().head
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        self.0.read().get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, see: &mut See<'_>) -> Result<(), LogError> {
        self.0.read().scan(start, end, order, see)
    }
}
