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
//! 8. Events lie in records that form a [chain], from the [`Anchor`] to the [`head`](EventLog::head): each names the hash
//!    of the one before it.
//! 9. A commit may give up the beginning of the log, up to a [`horizon`](Anchor::horizon). After it everything is whole;
//!    before it only the events are left that the commit [carries](Pruning::carry) over it. Reading in order from before
//!    it is [`LogError::Pruned`].
//!
//! A commit is also what a replicated log would carry: one frame, by one fenced writer.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::event::Envelope;
use crate::domain::id::{JobId, Seq};
use crate::domain::state::Base;
use chain::{Hash, Head};

pub mod chain;
pub mod codec;
mod mark;
pub mod memory;
pub mod sled;
mod store;

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

/// What is stored at once.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The position that it follows.
    pub after: Seq,
    /// The events that are appended, numbered densely.
    pub events: &'a [Envelope],
    /// The rows that change.
    pub rows: &'a [RowWrite],
    /// What is given up of the log's beginning, if anything is.
    pub pruning: Option<&'a Pruning>,
}

impl<'a> Commit<'a> {
    /// Appends `events` after position `after`, and changes `rows`.
    #[must_use]
    pub const fn new(after: Seq, events: &'a [Envelope], rows: &'a [RowWrite]) -> Self {
        Self { after, events, rows, pruning: None }
    }
}

/// How the beginning of a log is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Up to here everything goes: the end of a record of events, beyond the horizon so far, not beyond the log's end.
    pub horizon: Seq,
    /// Out of what goes, the events that stay all the same, each in a record of its own outside of the chain.
    pub carry: Vec<Envelope>,
    /// The jobs of which nothing is carried any more: what was until now goes. None of them has an event in `carry`.
    pub drop: Vec<JobId>,
    /// What whoever begins at the horizon has to know of what went.
    pub base: Base,
}

/// Where the log begins, and what there is to know of what was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Everything after this position is there. [`Seq::ZERO`] when nothing was given up.
    pub horizon: Seq,
    /// The hash of the record that ended there, which the next one names; [`Hash::NONE`] when nothing was given up.
    pub hash: Hash,
    /// What can't be learnt from the events that are left.
    pub base: Base,
}

/// The writing side of a log. See the [module](self) for its contract.
pub trait EventLog: Send {
    /// Appends events, changes rows and gives up the beginning of the log, atomically and durably. Gives the new end.
    ///
    /// # Errors
    /// [`LogError::Conflict`], [`LogError::TooLarge`], [`LogError::Corrupt`]: nothing was stored.
    /// [`LogError::Indeterminate`]: nobody knows.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError>;

    /// The log's durable end.
    fn head(&self) -> Head;

    /// The position of the newest durable event.
    fn tail(&self) -> Seq {
        self.head().seq
    }

    /// The reading side, which other threads may hold.
    fn reader(&self) -> Arc<dyn LogReader>;
}

/// The reading side of a log.
pub trait LogReader: Send + Sync {
    /// The log's durable end.
    fn head(&self) -> Head;

    /// The position of the newest durable event.
    fn tail(&self) -> Seq {
        self.head().seq
    }

    /// Where the log begins. It may be on its way to the disk still, as a [`row`](Self::row) may.
    ///
    /// # Errors
    /// When it can't be read.
    fn anchor(&self) -> Result<Anchor, LogError>;

    /// Up to `limit` durable events after position `after`, in order and without gaps.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Newer`] with the position of the event that can't be read;
    /// [`LogError::Pruned`] when some of the events after that position were given up.
    fn events(&self, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError>;

    /// The events of a job that were carried over the horizon, in order. Those of all jobs, one job after another, are
    /// the [`records`](Self::records) of [`codec::CARRIED`].
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Newer`] with the position of the event that can't be read.
    fn carried(&self, job: &JobId) -> Result<Vec<Envelope>, LogError>;

    /// The event at `seq`; `None` beyond the log's end, and when it was given up. It may be on its way to the disk still:
    /// rows, which become visible with it, may name it already.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Newer`] with its position, when it can't be read.
    fn event(&self, seq: Seq) -> Result<Option<Envelope>, LogError> {
        Ok(self.neighbours(seq)?.into_iter().find(|event| event.seq == seq))
    }

    /// The events that are stored together with the one at `seq`, in order; none beyond the log's end, and none when it was
    /// given up. For whoever looks at several events that lie near one another: a commit is read as a whole.
    ///
    /// # Errors
    /// As [`event`](Self::event).
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

    /// Up to `limit` records as they are stored, sealed and unchecked, whose stored keys begin with `prefix` (see
    /// [`codec`]), in the order of their keys, beginning after the key `after`. They may be on their way to the disk still.
    ///
    /// # Errors
    /// When the storage can't be read.
    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError>;
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
    /// What was asked for was given up. Whoever can go on without it reads on from the horizon.
    Pruned {
        /// Where the log begins: everything after this position is there.
        horizon: Seq,
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
            Self::Pruned { horizon } => {
                write!(f, "what was recorded up to position {horizon} has been pruned; the log can be read after that")
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
