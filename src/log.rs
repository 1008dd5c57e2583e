//! The append-only log, and beside it the rows that are derived from it.
//!
//! The contract of a log, which every implementation keeps and one test suite checks for each of them:
//!
//! 1. There is one writer. Positions are dense: the first event has 1, every next one the number after.
//! 2. A [`commit`](EventLog::commit) is atomic: after a crash all its events and row changes are there, or none.
//! 3. `Ok` from a commit means durable: it outlives the process, and a power cut.
//! 4. A commit names the position that it follows. When that is not the log's end, it is refused with
//!    [`LogError::Conflict`] and nothing is stored.
//! 5. [`LogError::Indeterminate`] means that nobody knows whether the commit was stored. The log refuses every further
//!    commit; opening it anew tells.
//! 6. Readers see whole commits in order. A range of events ends at the newest durable one; a single row or event may
//!    be read up to a commit earlier.
//! 7. What can't be read is an error that names its position. It is never skipped and never a panic.
//!
//! A commit is also what a replicated log would carry: one frame, by one fenced writer.

use std::fmt;
use std::sync::Arc;

use crate::domain::event::Envelope;
use crate::domain::id::Seq;

pub mod codec;
mod mark;
pub mod memory;
pub mod sled;

/// The largest value that is stored under one key, in bytes: the storage engine keeps larger ones in files of their own,
/// which it never syncs. An event or a row that is larger is refused before anything is written.
pub const MAX_VALUE: usize = 64 * 1024;

/// A change to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowWrite {
    /// The row's key.
    pub key: Vec<u8>,
    /// Its new value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// The writing side of a log. See the [module](self) for its contract.
pub trait EventLog: Send {
    /// Appends `events` after position `after` and changes `rows`, atomically and durably. Gives the new end.
    ///
    /// # Errors
    /// [`LogError::Conflict`], [`LogError::TooLarge`]: nothing was stored. [`LogError::Indeterminate`]: nobody knows.
    fn commit(&mut self, after: Seq, events: &[Envelope], rows: &[RowWrite]) -> Result<Seq, LogError>;

    /// The position of the newest durable event.
    fn tail(&self) -> Seq;

    /// The reading side, which other threads may hold.
    fn reader(&self) -> Arc<dyn LogReader>;
}

/// The reading side of a log.
pub trait LogReader: Send + Sync {
    /// The position of the newest durable event.
    fn tail(&self) -> Seq;

    /// Up to `limit` durable events after position `after`, in order and without gaps.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Newer`] with the position of the event that can't be read.
    fn events(&self, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError>;

    /// The event at `seq`; `None` beyond the log's end. It may be on its way to the disk still: rows, which become
    /// visible with it, may name it already.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    fn event(&self, seq: Seq) -> Result<Option<Envelope>, LogError>;

    /// The events that are stored together with the one at `seq`, in order; none beyond the log's end. For whoever looks
    /// at several events that lie near one another: a commit is read as a whole.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    fn neighbours(&self, seq: Seq) -> Result<Vec<Envelope>, LogError>;

    /// The row of that key. It may be on its way to the disk still: what a reader sees before its writer was told may be
    /// undone by a power cut.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Newer`] with the key of the row that can't be read.
    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError>;

    /// The keys that begin with `prefix`, in their order, up to `limit`. Nothing that stands under them is read, so damage to
    /// it is not met.
    ///
    /// # Errors
    /// When the storage can't be read.
    fn keys(&self, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LogError>;

    /// Up to `limit` rows whose keys begin with `prefix`, in the order of their keys or against it, beginning after
    /// the key `after` in that direction.
    ///
    /// # Errors
    /// As [`row`](Self::row).
    fn rows(&self, prefix: &[u8], order: Order, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError>;
}

/// A row's key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Which way to go through rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// What can go wrong with a log, by what the caller can do about it.
#[derive(Debug)]
pub enum LogError {
    /// Another process has the data directory open. Stop it, or use another directory.
    Locked {
        /// The data directory.
        path: String,
    },
    /// The commit did not follow the log's end: there is another writer. Nothing was stored.
    Conflict {
        /// The log's end.
        tail: Seq,
    },
    /// A value is larger than [`MAX_VALUE`]. Nothing was stored.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The commit failed; whether it was stored is unknown until the log is opened anew.
    Indeterminate {
        /// What the storage said.
        why: String,
    },
    /// Something stored is damaged, or missing. Restore a backup, or keep a copy of the directory for repair.
    Corrupt {
        /// Where: `event 7`, `row 6a…`, `the log's end`.
        place: String,
        /// What does not fit.
        why: String,
    },
    /// Something was stored by a newer version of this program. Use that version.
    Newer {
        /// Where.
        place: String,
        /// Its format's version.
        version: u8,
    },
    /// The storage could not be opened or read.
    Io {
        /// What was tried.
        what: String,
        /// What the storage said.
        why: String,
    },
}

impl LogError {
    /// Something stored is damaged or missing.
    pub(crate) fn corrupt(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt { place: place.into(), why: why.into() }
    }

    /// Something could not be opened or read.
    pub(crate) fn io(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Io { what: what.into(), why: why.to_string() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => {
                write!(
                    f,
                    "the data directory {path} is in use by another process; stop that, or name another directory"
                )
            }
            Self::Conflict { tail } => {
                write!(f, "another writer has appended to the log, which ends at position {tail}")
            }
            Self::TooLarge { bytes } => {
                write!(f, "a value of {bytes} bytes is larger than {MAX_VALUE} bytes; nothing was stored")
            }
            Self::Indeterminate { why } => {
                write!(f, "writing to the log failed, and what was written last is known only after a restart: {why}")
            }
            Self::Corrupt { place, why } => write!(
                f,
                "the log is damaged at {place}: {why}. Keep a copy of the data directory, and restore a backup"
            ),
            Self::Newer { place, version } => write!(
                f,
                "{place} was written in format {version} by a newer version of this program, which knows formats up to {}; \
                 use that version",
                codec::VERSION
            ),
            Self::Io { what, why } => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for LogError {}

/// Checks what a commit of either kind of log has to be, before anything is written.
fn check_commit(tail: Seq, after: Seq, events: &[Envelope]) -> Result<(), LogError> {
    if after != tail {
        return Err(LogError::Conflict { tail });
    }
    let dense = events.iter().zip(after.0 + 1..).all(|(event, seq)| event.seq.0 == seq);
    assert!(dense, "the engine numbers events densely");
    Ok(())
}
