//! Bytes on disk. Everything that is stored goes through here, and bincode is used nowhere else.
//!
//! A stored value is `version (1 byte) ‖ checksum (4 bytes, little endian) ‖ body`. The checksum is CRC-32 over the key, the
//! version and the body, so that a value that was changed, or stands at another place than it was written to, is noticed.
//!
//! | stored key | version | body |
//! | --- | --- | --- |
//! | [`f`](FRAMES) position | 2 | the hash of the record before it (32 bytes, see [`chain`](super::chain)), then as in 1 |
//! | | 1 | the number of events, then for each of them the bincode of `(at, job, prev, event)` |
//! | [`c`](CARRIED) job id, 0, position | 1 | one such event, which was carried over the horizon |
//! | [`h`](ANCHOR) | 1 | the horizon, the hash of the record that ended there, and the base |
//! | [`r`](ROWS) the views' key | 1 | the row, as the views have it |
//!
//! The events of a commit are one record of the first kind, a frame, under the position of its last event, from which the
//! others' follow; a commit that is too large for one is several. Positions are big endian; bincode is in its standard
//! configuration.
//!
//! These bytes are public: variants and fields of stored types are only ever appended with a new version, and golden
//! bytes in the tests hold every one of them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::chain::{Hash, Head};
use super::{Anchor, Commit, LogError, Pruning};
use crate::domain::event::{Envelope, Event};
use crate::domain::id::{JobId, Seq};
use crate::domain::time::Timestamp;

/// The newest format that this program reads.
pub const VERSION: u8 = CHAINED;

/// Of everything but frames.
const PLAIN: u8 = 1;

/// Of frames that name the one before them.
const CHAINED: u8 = 2;

/// What the stored keys of frames begin with.
pub const FRAMES: &[u8] = b"f";

/// What the stored keys of carried events begin with.
pub const CARRIED: &[u8] = b"c";

/// The stored key of the anchor.
pub const ANCHOR: &[u8] = b"h";

/// What the stored keys of rows begin with.
pub const ROWS: &[u8] = b"r";

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

/// Wraps a body in the format `version` for storage under `key`.
#[must_use]
pub fn seal(key: &[u8], version: u8, body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + body.len());
    sealed.push(version);
    sealed.extend(checksum(key, version, body).to_le_bytes());
    sealed.extend(body);
    sealed
}

/// Unwraps what is stored under `key`, in a format up to `newest`. Gives the format's version and the body.
///
/// # Errors
/// When it is not what was written there, or was written by a newer version.
pub fn unseal<'a>(key: &[u8], newest: u8, sealed: &'a [u8]) -> Result<(u8, &'a [u8]), Unreadable> {
    let (header, body) = sealed
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| Unreadable::Damaged(format!("{} bytes are fewer than a record has", sealed.len())))?;
    let [version, checksum_bytes @ ..] = *header;
    if checksum(key, version, body) != u32::from_le_bytes(checksum_bytes) {
        return Err(Unreadable::Damaged("its checksum does not match".into()));
    }
    if (PLAIN..=newest).contains(&version) { Ok((version, body)) } else { Err(Unreadable::Newer(version)) }
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

/// The key of the frame whose last event is at `last`. So the frame that holds a position is the first one whose key is not
/// smaller than that position's.
pub(super) fn frame_key(last: Seq) -> Vec<u8> {
    [FRAMES, &last.0.to_be_bytes()].concat()
}

/// What the keys of a job's carried events begin with. No job's id has a 0 in it, so no other's do.
pub(super) fn carried_prefix(job: &JobId) -> Vec<u8> {
    [CARRIED, job.as_str().as_bytes(), &[0]].concat()
}

fn carried_key(job: &JobId, seq: Seq) -> Vec<u8> {
    [&carried_prefix(job)[..], &seq.0.to_be_bytes()].concat()
}

/// The position with which a key ends.
fn seq_of(key: &[u8]) -> Result<Seq, LogError> {
    let seq = key.last_chunk().map(|seq| Seq(u64::from_be_bytes(*seq)));
    seq.ok_or_else(|| LogError::corrupt(format!("the key {} of the log", key.escape_ascii()), "it is no position"))
}

/// The key of a row: what the views call it.
pub(super) fn row_key(key: &[u8]) -> Vec<u8> {
    [ROWS, key].concat()
}

/// The events of (a part of) one commit, as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The position of its last event.
    pub last: Seq,
    /// The hash of the frame before it; `None` in one of version 1.
    pub previous: Option<Hash>,
    /// Its own hash.
    pub hash: Hash,
    /// Its events, of which there is one at least.
    pub events: Vec<Envelope>,
}

impl Frame {
    /// The position of its first event.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.events.first().map_or(self.last, |event| event.seq)
    }
}

/// Reads a stored frame.
///
/// # Errors
/// Names the frame's last event, when it can't be read.
pub fn open_frame(key: &[u8], sealed: &[u8]) -> Result<Frame, LogError> {
    let last = seq_of(key)?;
    read_frame(key, sealed, last).map_err(|unreadable| unreadable.at(format!("the record of event {last}")))
}

fn read_frame(key: &[u8], sealed: &[u8], last: Seq) -> Result<Frame, Unreadable> {
    let (version, body) = unseal(key, CHAINED, sealed)?;
    let (previous, rest) = match version {
        PLAIN => (None, body),
        _ => {
            let short = || Unreadable::Damaged("it is too short to name the one before it".into());
            let (previous, rest) = body.split_first_chunk().ok_or_else(short)?;
            (Some(Hash(*previous)), rest)
        }
    };
    let (count, mut rest) = decode_prefix::<u32>(rest)?;
    let first = (last.0 + 1).checked_sub(u64::from(count)).filter(|&first| first > 0 && count > 0);
    let first = first.ok_or_else(|| Unreadable::Damaged(format!("it claims to hold {count} events")))?;
    let mut events = Vec::new();
    for seq in first..=last.0 {
        let (event, left) = decode_event(Seq(seq), rest)?;
        events.push(event);
        rest = left;
    }
    nothing_left(rest)?;
    Ok(Frame { last, previous, hash: Hash::of(key, version, body), events })
}

fn nothing_left(rest: &[u8]) -> Result<(), Unreadable> {
    if rest.is_empty() { Ok(()) } else { Err(Unreadable::Damaged(format!("{} bytes are left over", rest.len()))) }
}

/// Reads a carried event.
///
/// # Errors
/// Names the event, when it can't be read.
pub fn open_carried(key: &[u8], sealed: &[u8]) -> Result<Envelope, LogError> {
    let seq = seq_of(key)?;
    let read = || {
        let (_, body) = unseal(key, PLAIN, sealed)?;
        let (event, rest) = decode_event(seq, body)?;
        nothing_left(rest).map(|()| event)
    };
    read().map_err(|unreadable| unreadable.at(format!("the carried event {seq}")))
}

/// Reads the anchor.
///
/// # Errors
/// When it can't be read.
pub fn open_anchor(sealed: &[u8]) -> Result<Anchor, LogError> {
    let read = unseal(ANCHOR, PLAIN, sealed).and_then(|(_, body)| decode(body));
    read.map_err(|unreadable| unreadable.at("the anchor, which says where the log begins"))
}

/// Reads a row under its stored key.
///
/// # Errors
/// Names the row, when it can't be read.
pub fn open_row(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, LogError> {
    let body = unseal(key, PLAIN, sealed).map(|(_, body)| body.to_vec());
    body.map_err(|unreadable| unreadable.at(format!("row {}", key.escape_ascii())))
}

/// A key, and its sealed value or nothing.
pub(super) type SealedWrite = (Vec<u8>, Option<Vec<u8>>);

/// The most that a frame of several events holds, in bytes: a commit is one frame, unless it is larger.
const FRAME_BYTES: usize = 48 * 1024;

/// What a commit stores after `head`, ready to be written, and the head that it makes.
pub(super) fn seal_commit(commit: &Commit<'_>, head: Head) -> Result<(Vec<SealedWrite>, Head), LogError> {
    let (mut sealed, head) = seal_frames(commit.events, head);
    sealed.extend(commit.rows.iter().map(|row| {
        let key = row_key(&row.key);
        let value = row.value.as_ref().map(|value| seal(&key, PLAIN, value));
        (key, value)
    }));
    match sealed.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).find(|&bytes| bytes > super::MAX_VALUE) {
        Some(bytes) => Err(LogError::TooLarge { bytes }),
        None => Ok((sealed, head)),
    }
}

fn seal_frames(events: &[Envelope], mut head: Head) -> (Vec<SealedWrite>, Head) {
    let mut frames = Vec::new();
    let (mut count, mut packed) = (0_u32, Vec::new());
    let mut encoded = events.iter().map(|event| (event.seq, encode_event(event))).peekable();
    while let Some((seq, event)) = encoded.next() {
        count += 1;
        packed.extend(event);
        let full = encoded.peek().is_none_or(|(_, next)| packed.len() + next.len() > FRAME_BYTES);
        if full {
            let key = frame_key(seq);
            let body = [&head.hash.0[..], &encode(&count), &std::mem::take(&mut packed)].concat();
            head = Head { seq, hash: Hash::of(&key, CHAINED, &body) };
            frames.push((key.clone(), Some(seal(&key, CHAINED, &body))));
            count = 0;
        }
    }
    (frames, head)
}

/// What gives up the log's beginning. `gone` are the frames from the horizon so far up to the new one, `dropped` the keys
/// of carried events that go.
pub(super) fn seal_pruning(
    pruning: &Pruning,
    gone: &[(Vec<u8>, Vec<u8>)],
    dropped: Vec<Vec<u8>>,
) -> Result<Vec<SealedWrite>, LogError> {
    let last = gone.last().map(|(key, sealed)| open_frame(key, sealed)).transpose()?;
    let last = last.filter(|frame| frame.last == pruning.horizon);
    let missing = || LogError::corrupt(format!("event {}", pruning.horizon), "no record ends with it");
    let Frame { last: horizon, hash, .. } = last.ok_or_else(missing)?;
    let anchor = encode(&Anchor { horizon, hash, base: pruning.base });
    let mut sealed = vec![(ANCHOR.to_vec(), Some(seal(ANCHOR, PLAIN, &anchor)))];
    sealed.extend(gone.iter().map(|(key, _)| (key.clone(), None)));
    sealed.extend(dropped.into_iter().map(|key| (key, None)));
    sealed.extend(pruning.carry.iter().map(|event| {
        let key = carried_key(&event.job, event.seq);
        let value = seal(&key, PLAIN, &encode_event(event));
        (key, Some(value))
    }));
    Ok(sealed)
}
