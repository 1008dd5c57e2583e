//! The chain of the records that events lie in: each names the hash of the one before it, so that the hash of the last one
//! stands for all of them. Whoever keeps that elsewhere notices when history is edited.
//!
//! A record's hash is SHA-256 over its key, the byte of its format's version and its body; its body begins with the hash
//! of the record before it. The first record names [`Hash::NONE`], the first one after the horizon the hash that the
//! [`Anchor`](super::Anchor) keeps.
//!
//! Records of version 1 name none. The first one of version 2 after them names the hash of the last one of them: of what
//! is older than that, checksums alone notice damage, and nothing notices an edit. The same holds for events that were
//! carried over the horizon, which lie outside of the chain.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{LogError, LogReader, codec};
use crate::domain::id::Seq;

/// Records that are read at a time.
const CHUNK: usize = 64;

/// A SHA-256 of a record of events.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first record names.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of a record, from its parts.
    pub(super) fn of(key: &[u8], version: u8, body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(key).chain_update([version]).chain_update(body).finalize().into())
    }
}

impl fmt::Display for Hash {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The end of a log: what stands for all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The position of the newest event; [`Seq::ZERO`] when there was none ever.
    pub seq: Seq,
    /// The hash of the record that ends there.
    pub hash: Hash,
}

/// Goes through the whole chain, from the anchor to the end. The log is to be at rest meanwhile.
///
/// # Errors
/// [`LogError::Corrupt`] names the first record that does not follow from the one before it, or that can't be read.
pub fn check(reader: &dyn LogReader) -> Result<Head, LogError> {
    let anchor = reader.anchor()?;
    let mut at = Head { seq: anchor.horizon, hash: anchor.hash };
    let (mut after, mut is_chained) = (None::<Vec<u8>>, false);
    loop {
        let records = reader.records(codec::FRAMES, after.as_deref(), CHUNK)?;
        let Some((last, _)) = records.last() else { break };
        after = Some(last.clone());
        for (key, sealed) in &records {
            let frame = codec::open_frame(key, sealed)?;
            let place = || format!("the record of event {}", frame.last);
            if frame.first() != at.seq.next() {
                let why = format!("it begins with event {}, and the one before it ends with {}", frame.first(), at.seq);
                return Err(LogError::corrupt(place(), why));
            }
            match frame.previous {
                Some(previous) if previous == at.hash => is_chained = true,
                Some(_) => return Err(LogError::corrupt(place(), "the record before it is not the one that it names")),
                None if is_chained => return Err(LogError::corrupt(place(), "it names no record before it")),
                None => {}
            }
            at = Head { seq: frame.last, hash: frame.hash };
        }
    }
    if at == reader.head() {
        return Ok(at);
    }
    Err(LogError::corrupt("the log's end", format!("the chain ends at position {} with {}", at.seq, at.hash)))
}
