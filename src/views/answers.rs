//! The answers that are kept under idempotency keys, so that a repeated request gets the first answer and changes nothing.
//!
//! An answer is kept in the commit of what it tells of: no crash can part them. It stays for [`KEPT`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Views, rows};
use crate::domain::time::Timestamp;
use crate::log::{LogError, LogReader, Order, RowWrite, codec};

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_hours(24);

/// Names an idempotency key: a hash of what the client gave.
pub type AnswerKey = [u8; 32];

/// An answer, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// When it was given.
    pub at: Timestamp,
    /// A hash of the request: another request under the same key is a mistake.
    pub request: [u8; 32],
    /// The HTTP status code.
    pub status: u16,
    /// The `ETag`, where there was one.
    pub version: Option<u64>,
    /// The body's exact bytes.
    pub body: Vec<u8>,
}

impl Views<'_> {
    /// The answer that is kept under `key`, if it still is at `now`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn kept_answer(&self, key: &AnswerKey, now: Timestamp) -> Result<Option<KeptAnswer>, LogError> {
        Ok(stored(self.reader, key)?.filter(|answer| now < answer.at.plus(KEPT)))
    }
}

fn stored(reader: &dyn LogReader, key: &AnswerKey) -> Result<Option<KeptAnswer>, LogError> {
    let prefix = rows::kept_key(key, &[]);
    let pieces = reader.rows(&prefix, Order::Ascending, None, usize::MAX)?;
    if pieces.is_empty() {
        return Ok(None);
    }
    let place = || format!("row {}", prefix.escape_ascii());
    let bytes = rows::joined(&pieces).ok_or_else(|| LogError::corrupt(place(), "a part of it is missing"))?;
    codec::decode(&bytes).map(Some).map_err(|unreadable| unreadable.at(place()))
}

/// The rows that keep an answer under `key`, in the place of what stands there.
///
/// # Errors
/// When a row can't be read.
pub fn keep(reader: &dyn LogReader, key: &AnswerKey, answer: &KeptAnswer) -> Result<Vec<RowWrite>, LogError> {
    let mut writes = rows::kept(key, &codec::encode(answer));
    for piece in reader.keys(&rows::kept_key(key, &[]), usize::MAX)? {
        if writes.iter().all(|write| write.key != piece) {
            writes.push(rows::remove(piece));
        }
    }
    writes.push(rows::put(expiry_key(answer.at, key), Vec::new()));
    Ok(writes)
}

/// When the next kept answer may be forgotten; `None` when none is kept.
///
/// # Errors
/// When a row can't be read.
pub fn next_expiry(reader: &dyn LogReader) -> Result<Option<Timestamp>, LogError> {
    let first = reader.keys(b"e", 1)?;
    Ok(first.first().and_then(|key| read_expiry(key)).map(|(at, _)| at.plus(KEPT)))
}

/// The rows that forget up to `limit` answers whose time is over at `now`.
///
/// # Errors
/// When a row can't be read.
pub fn forget(reader: &dyn LogReader, now: Timestamp, limit: usize) -> Result<Vec<RowWrite>, LogError> {
    let mut writes = Vec::new();
    for row in reader.keys(b"e", limit)? {
        let Some((at, key)) = read_expiry(&row) else {
            return Err(LogError::corrupt(format!("row {}", row.escape_ascii()), "it names no idempotency key"));
        };
        if now < at.plus(KEPT) {
            break;
        }
        writes.push(rows::remove(row));
        // The key may be in use again, for another request.
        let is_over = match stored(reader, &key) {
            Ok(answer) => answer.is_some_and(|answer| answer.at == at),
            Err(_) => true,
        };
        if is_over {
            // By their keys alone: one that is damaged goes, too.
            let pieces = reader.keys(&rows::kept_key(&key, &[]), usize::MAX)?;
            writes.extend(pieces.into_iter().map(rows::remove));
        }
    }
    Ok(writes)
}

fn expiry_key(at: Timestamp, key: &AnswerKey) -> Vec<u8> {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    [&b"e"[..], &millis.to_be_bytes(), key].concat()
}

fn read_expiry(row: &[u8]) -> Option<(Timestamp, AnswerKey)> {
    let (millis, key) = row.strip_prefix(b"e")?.split_first_chunk()?;
    let millis = i64::try_from(u64::from_be_bytes(*millis)).ok()?;
    Some((Timestamp::from_millis(millis), key.try_into().ok()?))
}
