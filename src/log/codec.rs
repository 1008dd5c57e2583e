//! Bytes on disk. Everything that is stored goes through here, and bincode is used nowhere else.
//!
//! A stored value is `version (1 byte) ‖ checksum (4 bytes, little endian) ‖ body`. The checksum is CRC-32 over the key, the
//! version and the body, so that a value that was changed, or stands at another place than it was written to, is noticed.
//!
//! The events of a commit are one record, a frame: their number, then for each the bincode (standard configuration) of
//! `(at, job, prev, event)`. Its key is the position of its last event, from which the others' follow.
//!
//! These bytes are public: variants and fields of stored types are only ever appended with a new version, and golden
//! bytes in the tests hold every one of them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::LogError;
use crate::domain::event::{Envelope, Event};
use crate::domain::id::{JobId, Seq};
use crate::domain::time::Timestamp;

/// The newest format that this program reads, and the one that it writes.
pub const VERSION: u8 = 1;

const HEADER: usize = 5;
const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// Why stored bytes can't be read; the caller knows where they stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The bytes are not what was written.
    Damaged(String),
    /// The bytes were written by a newer version of this program.
    Newer(u8),
}

impl Unreadable {
    /// The error that names the place.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> LogError {
        match self {
            Self::Damaged(why) => LogError::corrupt(place, why),
            Self::Newer(version) => LogError::Newer { place: place.into(), version },
        }
    }
}

/// Wraps a body for storage under `key`.
#[must_use]
pub fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + body.len());
    sealed.push(VERSION);
    sealed.extend(checksum(key, VERSION, body).to_le_bytes());
    sealed.extend(body);
    sealed
}

/// Unwraps what is stored under `key`.
///
/// # Errors
/// When it is not what was written there, or was written by a newer version.
pub fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Unreadable> {
    let (header, body) = sealed
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| Unreadable::Damaged(format!("{} bytes are fewer than a record has", sealed.len())))?;
    let [version, checksum_bytes @ ..] = *header;
    if checksum(key, version, body) != u32::from_le_bytes(checksum_bytes) {
        return Err(Unreadable::Damaged("its checksum does not match".into()));
    }
    if version == VERSION { Ok(body) } else { Err(Unreadable::Newer(version)) }
}

fn checksum(key: &[u8], version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

/// The body of a row.
///
/// # Panics
/// Never: the stored types have no maps with keys that bincode refuses and no sequences of unknown length.
#[must_use]
#[expect(clippy::expect_used, reason = "documented invariant")]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, CONFIG).expect("stored types always encode")
}

/// Reads the body of a row, all of it.
///
/// # Errors
/// When it is not the bytes of a `T`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    match decode_prefix(body)? {
        (value, []) => Ok(value),
        (_, rest) => Err(Unreadable::Damaged(format!("{} bytes are left over", rest.len()))),
    }
}

/// Reads a `T` from the beginning. Gives what is left.
fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Unreadable> {
    // A length that the bytes claim must not make room for more than there can be.
    let limited = CONFIG.with_limit::<{ 4 * super::MAX_VALUE }>();
    match bincode::serde::decode_from_slice(bytes, limited) {
        Ok((value, read)) => Ok((value, &bytes[read..])),
        Err(error) => Err(Unreadable::Damaged(format!("it does not decode: {error}"))),
    }
}

#[derive(Serialize)]
struct RecordRef<'a>(Timestamp, &'a JobId, Seq, &'a Event);

#[derive(Deserialize)]
struct Record(Timestamp, JobId, Seq, Event);

/// The body of an event; its position is not in it.
#[must_use]
pub fn encode_event(envelope: &Envelope) -> Vec<u8> {
    encode(&RecordRef(envelope.at, &envelope.job, envelope.prev, &envelope.event))
}

/// Reads the event at `seq` from the beginning of `bytes`. Gives what is left.
///
/// # Errors
/// When it is not the bytes of an event.
pub fn decode_event(seq: Seq, bytes: &[u8]) -> Result<(Envelope, &[u8]), Unreadable> {
    let (Record(at, job, prev, event), rest) = decode_prefix(bytes)?;
    Ok((Envelope { seq, at, job, prev, event }, rest))
}

/// The key of a frame: `f` and the position of its last event, big endian. So the frame that holds a position is the first
/// one whose key is not smaller than that position's.
pub(super) fn frame_key(last: Seq) -> [u8; 9] {
    let mut key = [b'f'; 9];
    key[1..].copy_from_slice(&last.0.to_be_bytes());
    key
}

/// The position of a frame's last event.
pub(super) fn frame_seq(key: &[u8]) -> Option<Seq> {
    match key {
        [b'f', seq @ ..] => Some(Seq(u64::from_be_bytes(seq.try_into().ok()?))),
        _ => None,
    }
}

/// Reads a stored frame: the events of (a part of) one commit.
fn open_frame(key: &[u8], sealed: &[u8]) -> Result<Vec<Envelope>, LogError> {
    let last = frame_seq(key).ok_or_else(|| LogError::corrupt("a key of the log", "it is no position"))?;
    read_frame(key, sealed, last).map_err(|unreadable| unreadable.at(format!("the record of event {last}")))
}

fn read_frame(key: &[u8], sealed: &[u8], last: Seq) -> Result<Vec<Envelope>, Unreadable> {
    let (count, mut rest) = decode_prefix::<u32>(unseal(key, sealed)?)?;
    let first = (last.0 + 1).checked_sub(u64::from(count)).filter(|&first| first > 0 && count > 0);
    let first = first.ok_or_else(|| Unreadable::Damaged(format!("it claims to hold {count} events")))?;
    let mut events = Vec::new();
    for seq in first..=last.0 {
        let (event, left) = decode_event(Seq(seq), rest)?;
        events.push(event);
        rest = left;
    }
    match rest {
        [] => Ok(events),
        _ => Err(Unreadable::Damaged(format!("{} bytes are left over", rest.len()))),
    }
}

/// The events after position `after` up to `last`, out of the frames that begin with the one that holds `after + 1`.
pub(super) fn events<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    mut frames: impl Iterator<Item = Result<(K, V), LogError>>,
    after: Seq,
    last: Seq,
) -> Result<Vec<Envelope>, LogError> {
    let mut events: Vec<Envelope> = Vec::new();
    let mut next = after.next();
    while next <= last {
        let missing = || LogError::corrupt(format!("event {next}"), "it is missing");
        let (key, sealed) = frames.next().ok_or_else(missing)??;
        let frame = open_frame(key.as_ref(), sealed.as_ref())?;
        if frame.first().is_some_and(|first| first.seq > next) {
            return Err(missing());
        }
        events.extend(frame.into_iter().filter(|event| next <= event.seq && event.seq <= last));
        next = events.last().map_or(next, |event| event.seq.next());
    }
    Ok(events)
}

/// The event at `seq`, out of the frame that holds it; `None` when there is none yet.
pub(super) fn event<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    frame: Option<(K, V)>,
    seq: Seq,
) -> Result<Option<Envelope>, LogError> {
    let Some(frame) = frame else { return Ok(None) };
    events(std::iter::once(Ok(frame)), Seq(seq.0.saturating_sub(1)), seq).map(|mut found| found.pop())
}

/// The events of a frame, which holds the one that is looked for.
pub(super) fn neighbours<K: AsRef<[u8]>, V: AsRef<[u8]>>(frame: Option<(K, V)>) -> Result<Vec<Envelope>, LogError> {
    frame.map_or_else(|| Ok(Vec::new()), |(key, sealed)| open_frame(key.as_ref(), sealed.as_ref()))
}

/// The key of a row: `r` and what the views call it.
pub(super) fn row_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(b'r');
    stored.extend(key);
    stored
}

/// A key, and its sealed value or nothing.
pub(super) type SealedWrite = (Vec<u8>, Option<Vec<u8>>);

/// The most that a frame of several events holds, in bytes: a commit is one frame, unless it is larger.
const FRAME_BYTES: usize = 48 * 1024;

/// What a commit stores, ready to be written.
pub(super) fn seal_commit(events: &[Envelope], rows: &[super::RowWrite]) -> Result<Vec<SealedWrite>, LogError> {
    let rows = rows.iter().map(|row| {
        let key = row_key(&row.key);
        let value = row.value.as_ref().map(|value| seal(&key, value));
        (key, value)
    });
    let sealed: Vec<_> = seal_frames(events).into_iter().chain(rows).collect();
    match sealed.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).find(|&bytes| bytes > super::MAX_VALUE) {
        Some(bytes) => Err(LogError::TooLarge { bytes }),
        None => Ok(sealed),
    }
}

fn seal_frames(events: &[Envelope]) -> Vec<SealedWrite> {
    let mut frames = Vec::new();
    let (mut count, mut body) = (0_u32, Vec::new());
    let mut bodies = events.iter().map(|event| (event.seq, encode_event(event))).peekable();
    while let Some((seq, event)) = bodies.next() {
        count += 1;
        body.extend(event);
        let full = bodies.peek().is_none_or(|(_, next)| body.len() + next.len() > FRAME_BYTES);
        if full {
            let key = frame_key(seq);
            frames.push((key.to_vec(), Some(seal(&key, &[encode(&count), std::mem::take(&mut body)].concat()))));
            count = 0;
        }
    }
    frames
}

/// Reads a stored row.
pub(super) fn open_row(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, LogError> {
    unseal(key, sealed).map(<[u8]>::to_vec).map_err(|unreadable| unreadable.at(format!("row {}", key.escape_ascii())))
}
