//! A log over sealed values under ordered keys, whatever keeps those.

use super::chain::Head;
use super::codec::{self, FRAMES, SealedWrite};
use super::{Anchor, Commit, LogError, LogReader, Order, Row};
use crate::domain::event::Envelope;
use crate::domain::id::{JobId, Seq};

/// Sealed values under ordered keys. What is committed becomes visible at once, and perhaps before it is durable.
pub(super) trait Store: Send + Sync {
    /// The log's durable end.
    fn head(&self) -> Head;

    /// What is stored under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError>;

    /// Shows what is stored under the keys from `start` to before `end`, in order or against it, until `see` has seen
    /// enough and gives `false`.
    fn scan(&self, start: &[u8], end: &[u8], order: Order, see: &mut See<'_>) -> Result<(), LogError>;
}

/// Looks at a key and a value; gives whether to go on.
pub(super) type See<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, LogError> + 'a;

/// What a commit stores, ready to be written, and the head that it makes.
pub(super) fn prepare(
    store: &impl Store,
    head: Head,
    commit: &Commit<'_>,
) -> Result<(Vec<SealedWrite>, Head), LogError> {
    let tail = head.seq;
    if commit.after != tail {
        return Err(LogError::Conflict { tail });
    }
    let dense = commit.events.iter().zip(tail.0 + 1..).all(|(event, seq)| event.seq.0 == seq);
    assert!(dense, "the engine numbers events densely");
    let (mut sealed, head) = codec::seal_commit(commit, head)?;
    if let Some(pruning) = commit.pruning {
        let from = anchor(store)?.horizon;
        assert!(from < pruning.horizon && pruning.horizon <= tail, "the engine prunes what there is");
        let mut gone = Vec::new();
        let end = beyond(&codec::frame_key(pruning.horizon));
        store.scan(&codec::frame_key(from.next()), &end, Order::Ascending, &mut |key, sealed| {
            gone.push((key.to_vec(), sealed.to_vec()));
            Ok(true)
        })?;
        let mut dropped = Vec::new();
        for job in &pruning.drop {
            let prefix = codec::carried_prefix(job);
            scan_up_to(store, (&prefix, &successor(&prefix)), Order::Ascending, usize::MAX, |key, _| {
                dropped.push(key.to_vec());
                Ok(())
            })?;
        }
        sealed.extend(codec::seal_pruning(pruning, &gone, dropped)?);
    }
    Ok((sealed, head))
}

/// Where what is stored ends, durable or not.
pub(super) fn find_head(store: &impl Store) -> Result<Head, LogError> {
    let Anchor { horizon, hash, .. } = anchor(store)?;
    let mut head = Head { seq: horizon, hash };
    store.scan(FRAMES, &successor(FRAMES), Order::Descending, &mut |key, sealed| {
        let frame = codec::open_frame(key, sealed)?;
        head = Head { seq: frame.last, hash: frame.hash };
        Ok(false)
    })?;
    Ok(head)
}

/// The record that holds the event at `seq`, or comes after it.
fn frame_from(store: &impl Store, seq: Seq) -> Result<Option<codec::Frame>, LogError> {
    let mut found = None;
    store.scan(&codec::frame_key(seq), &successor(FRAMES), Order::Ascending, &mut |key, sealed| {
        found = Some(codec::open_frame(key, sealed)?);
        Ok(false)
    })?;
    Ok(found)
}

fn anchor(store: &impl Store) -> Result<Anchor, LogError> {
    store.get(codec::ANCHOR)?.map_or_else(|| Ok(Anchor::default()), |sealed| codec::open_anchor(&sealed))
}

/// The events after position `after` up to `last`.
fn events_up_to(store: &impl Store, after: Seq, last: Seq) -> Result<Vec<Envelope>, LogError> {
    let mut events: Vec<Envelope> = Vec::new();
    let mut next = after.next();
    store.scan(&codec::frame_key(next), &successor(FRAMES), Order::Ascending, &mut |key, sealed| {
        let frame = codec::open_frame(key, sealed)?;
        if frame.first() > next {
            return Err(missing(next));
        }
        events.extend(frame.events.into_iter().filter(|event| next <= event.seq && event.seq <= last));
        next = events.last().map_or(next, |event| event.seq.next());
        Ok(next <= last)
    })?;
    if next <= last { Err(missing(next)) } else { Ok(events) }
}

fn missing(seq: Seq) -> LogError {
    LogError::corrupt(format!("event {seq}"), "it is missing")
}

impl<S: Store> LogReader for S {
    fn head(&self) -> Head {
        Store::head(self)
    }

    fn anchor(&self) -> Result<Anchor, LogError> {
        anchor(self)
    }

    fn events(&self, after: Seq, limit: usize) -> Result<Vec<Envelope>, LogError> {
        let last = Seq(self.tail().0.min(after.0.saturating_add(limit as u64)));
        let read = if last <= after { Ok(Vec::new()) } else { events_up_to(self, after, last) };
        // Asked last: what was there at first may have been given up while it was read.
        match anchor(self)?.horizon {
            horizon if after < horizon => Err(LogError::Pruned { horizon }),
            _ => read,
        }
    }

    fn carried(&self, job: &JobId) -> Result<Vec<Envelope>, LogError> {
        let mut events = Vec::new();
        let prefix = codec::carried_prefix(job);
        scan_up_to(self, (&prefix, &successor(&prefix)), Order::Ascending, usize::MAX, |key, sealed| {
            events.push(codec::open_carried(key, sealed)?);
            Ok(())
        })?;
        Ok(events)
    }

    fn neighbours(&self, seq: Seq) -> Result<Vec<Envelope>, LogError> {
        let frame = frame_from(self, seq)?;
        match frame.filter(|frame| frame.first() <= seq) {
            Some(frame) => Ok(frame.events),
            None if anchor(self)?.horizon < seq && seq <= self.tail() => Err(missing(seq)),
            None => Ok(Vec::new()),
        }
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        let key = codec::row_key(key);
        self.get(&key)?.map(|sealed| codec::open_row(&key, &sealed)).transpose()
    }

    fn keys(&self, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let mut keys = Vec::new();
        let prefix = codec::row_key(prefix);
        scan_up_to(self, (&prefix, &successor(&prefix)), Order::Ascending, limit, |key, _| {
            keys.push(key[1..].to_vec());
            Ok(())
        })?;
        Ok(keys)
    }

    fn rows(&self, prefix: &[u8], order: Order, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError> {
        let mut start = codec::row_key(prefix);
        let mut end = successor(&start);
        match (order, after) {
            (Order::Ascending, Some(after)) => start = start.max(beyond(&codec::row_key(after))),
            (Order::Descending, Some(after)) => end = end.min(codec::row_key(after)),
            (_, None) => {}
        }
        let mut rows = Vec::new();
        scan_up_to(self, (&start, &end), order, limit, |key, sealed| {
            rows.push((key[1..].to_vec(), codec::open_row(key, sealed)?));
            Ok(())
        })?;
        Ok(rows)
    }

    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, LogError> {
        let start = after.map_or_else(|| prefix.to_vec(), |after| prefix.to_vec().max(beyond(after)));
        let mut records = Vec::new();
        scan_up_to(self, (&start, &successor(prefix)), Order::Ascending, limit, |key, sealed| {
            records.push((key.to_vec(), sealed.to_vec()));
            Ok(())
        })?;
        Ok(records)
    }
}

/// Shows up to `limit` values under the keys from one to before another.
fn scan_up_to(
    store: &impl Store,
    (start, end): (&[u8], &[u8]),
    order: Order,
    limit: usize,
    mut see: impl FnMut(&[u8], &[u8]) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut left = limit;
    if left == 0 || start >= end {
        return Ok(());
    }
    store.scan(start, end, order, &mut |key, sealed| {
        see(key, sealed)?;
        left -= 1;
        Ok(left > 0)
    })
}

/// The first key after `key`.
fn beyond(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first key after every key that begins with `prefix`; one after all keys there are for none, as keys begin with a
/// letter.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX]
}
