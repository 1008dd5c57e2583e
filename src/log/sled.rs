//! The log on disk, in sled 0.34.
//!
//! sled's `flush` alone is not durable against a power cut: it mostly asks the kernel to begin writing. So after each
//! flush its file is synced through a handle of our own, then the high-water mark is raised, and only then is a commit
//! acknowledged. Every commit ends that way, also those that nobody waits for: sled reuses freed segments of its file,
//! so a batch that was never synced can damage older data.
//!
//! sled's decoding asserts; a panic inside it is caught here and becomes an error.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::chain::Head;
use super::mark::HighWaterMark;
use super::store::{See, Store, find_head, prepare};
use super::{Commit, EventLog, LogError, LogReader, Order, codec};
use crate::clock;
use crate::domain::id::Seq;

/// Memory that sled may use for pages, in bytes, as far as it counts them: what it holds comes to some 50 MB. Pages are read
/// from the operating system's cache nearly as fast; at 64 MiB it held 160 MB, and lists were read no faster.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Large enough that no value up to [`MAX_VALUE`](super::MAX_VALUE) is kept in a file of its own.
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;

/// How often, and how long apart, a lock is asked for: the lock of a process that was just killed goes with a delay.
const LOCK_TRIES: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A log in a directory.
pub struct SledLog {
    reader: Arc<SledReader>,
    /// sled's own file, for the sync that it does not make.
    db_file: File,
    mark: HighWaterMark,
    failed: bool,
}

struct SledReader {
    db: sled::Db,
    /// The durable end: readers see events up to here.
    durable: RwLock<Head>,
    /// The directory is ours for as long as anyone reads it. Dropped after the store, for it comes after it.
    _lock: File,
}

impl SledLog {
    /// Opens the log in `directory`, and makes it (readable by its owner only) where there is none.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process has it open, [`LogError::Corrupt`] when it ends before what was
    /// acknowledged or can't be read, [`LogError::Newer`] when a newer version of this program wrote it.
    pub fn open(directory: &Path) -> Result<Self, LogError> {
        let shown = directory.display();
        let store = directory.join("log");
        create_private(directory, &store)
            .map_err(|error| LogError::io(format!("can't make the data directory {shown}"), error))?;
        let lock = lock(directory)?;
        let db = open_store(directory, &store)?;
        let db_file = File::open(store.join("db")).map_err(|error| LogError::io("can't open the log's file", error))?;
        let reader = SledReader { db, durable: RwLock::default(), _lock: lock };
        let head = find_head(&reader)?;
        let tail = head.seq;
        let mark_path = directory.join("acknowledged");
        let (mut mark, acknowledged) = HighWaterMark::open(&mark_path)
            .map_err(|error| LogError::io(format!("can't open {}", mark_path.display()), error))?;
        match acknowledged {
            Some(acknowledged) if acknowledged > tail => {
                let why = format!("it ends at position {tail}, but position {acknowledged} was acknowledged");
                return Err(LogError::corrupt("the log's end", why));
            }
            None if tail > Seq::ZERO => {
                tracing::warn!(path = %mark_path.display(), "no readable mark of what was acknowledged; a lost tail would not be noticed");
            }
            _ => {}
        }
        // What was found is durable from here on: a commit that was never acknowledged may be in it.
        sync(&reader.db, &db_file, &mut mark, tail)
            .and_then(|()| mark.sync().map_err(|error| error.to_string()))
            .and_then(|()| sync_directories(&[directory, &store]).map_err(|error| error.to_string()))
            .map_err(|why| LogError::io("can't sync the log", why))?;
        *reader.durable.write() = head;
        Ok(Self { reader: Arc::new(reader), db_file, mark, failed: false })
    }

    fn write(&mut self, sealed: Vec<codec::SealedWrite>, tail: Seq) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        for (key, value) in sealed {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.reader.db.apply_batch(batch).map_err(|error| error.to_string())?;
        sync(&self.reader.db, &self.db_file, &mut self.mark, tail)
    }
}

/// Flush, sync, raise the mark: in this order, before anything is acknowledged.
fn sync(db: &sled::Db, db_file: &File, mark: &mut HighWaterMark, tail: Seq) -> Result<(), String> {
    db.flush().map_err(|error| error.to_string())?;
    db_file.sync_data().map_err(|error| error.to_string())?;
    mark.raise(tail).map_err(|error| error.to_string())
}

/// What is stored is for its owner alone, secrets among it: the store's directory is closed also where the data directory
/// was there before, with wider rights that are not ours to change.
fn create_private(directory: &Path, store: &Path) -> std::io::Result<()> {
    let is_new = !directory.exists();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(store)?;
    fs::set_permissions(store, fs::Permissions::from_mode(0o700))?;
    // A new directory is found after a power cut only when its parent was synced.
    let path = directory.canonicalize()?;
    path.parent().filter(|_| is_new).map_or(Ok(()), |parent| sync_directories(&[parent]))
}

/// New files are found after a power cut only when their directories were synced as well.
fn sync_directories(directories: &[&Path]) -> std::io::Result<()> {
    directories.iter().try_for_each(|directory| File::open(directory)?.sync_all())
}

/// sled has a lock of its own on its file, and asks for it once. It goes with the same delay as ours, and perhaps after it.
fn open_store(directory: &Path, store: &Path) -> Result<sled::Db, LogError> {
    let config = sled::Config::new()
        .path(store)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .use_compression(false)
        .flush_every_ms(None);
    for _ in 0..LOCK_TRIES {
        match guarded("opening the log", || config.open()) {
            Err(LogError::Io { why, .. }) if why.contains("could not acquire lock") => clock::pause(LOCK_PAUSE),
            opened => return opened,
        }
    }
    Err(LogError::Locked { path: directory.display().to_string() })
}

fn lock(directory: &Path) -> Result<File, LogError> {
    let path = directory.join("lock");
    let cant = |error: std::io::Error| LogError::io(format!("can't lock {}", path.display()), error);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(cant)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => clock::pause(LOCK_PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(cant(error)),
        }
    }
    Err(LogError::Locked { path: directory.display().to_string() })
}

/// Runs something of sled's, whose panics become errors.
fn guarded<T>(what: &str, run: impl FnOnce() -> sled::Result<T>) -> Result<T, LogError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Corruption { .. })) => {
            Err(LogError::corrupt("the storage engine's file", format!("{what} found damage")))
        }
        Ok(Err(error)) => Err(LogError::io(what, error)),
        Err(panic) => {
            let message = panic_message(&*panic);
            Err(LogError::corrupt("the storage engine's file", format!("{what} failed an internal check: {message}")))
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl EventLog for SledLog {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        if self.failed {
            return Err(LogError::Indeterminate { why: "an earlier commit failed".into() });
        }
        let (sealed, head) = prepare(&*self.reader, EventLog::head(self), commit)?;
        let written = catch_unwind(AssertUnwindSafe(|| self.write(sealed, head.seq)));
        match written.unwrap_or_else(|panic| Err(panic_message(&*panic).to_owned())) {
            Ok(()) => {
                *self.reader.durable.write() = head;
                Ok(head.seq)
            }
            Err(why) => {
                self.failed = true;
                Err(LogError::Indeterminate { why })
            }
        }
    }

    fn head(&self) -> Head {
        *self.reader.durable.read()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.reader) as Arc<dyn LogReader>
    }
}

impl Drop for SledLog {
    fn drop(&mut self) {
        if let Err(error) = self.mark.sync() {
            tracing::warn!(%error, "the mark of what was acknowledged could not be synced");
        }
    }
}

impl Store for SledReader {
    fn head(&self) -> Head {
        *self.durable.read()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        let value = guarded("reading the log", || self.db.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, see: &mut See<'_>) -> Result<(), LogError> {
        let mut range = self.db.range(start..end);
        let mut next = || match order {
            Order::Ascending => range.next(),
            Order::Descending => range.next_back(),
        };
        while let Some((key, value)) = guarded("reading the log", || next().transpose())? {
            if !see(&key, &value)? {
                break;
            }
        }
        Ok(())
    }
}
