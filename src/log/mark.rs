//! The high-water mark: a small file with the highest acknowledged position.
//!
//! The storage engine drops a damaged tail in silence. A log that ends before this mark has lost something that was
//! acknowledged, and must not be opened as if nothing had happened.
//!
//! Two slots, written in turn, each `position (8 bytes, big endian) ‖ CRC-32 of it (4 bytes)`: a torn write leaves the other
//! slot whole. It is written after the log was synced and before the acknowledgement. It is not synced itself then (that
//! would double the cost of a commit), only when the log is opened and closed: after a power cut it may be behind, which
//! makes it notice less, never more.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::domain::id::Seq;

const SLOT: usize = 12;

pub(super) struct HighWaterMark {
    file: File,
    next_slot: u64,
}

impl HighWaterMark {
    /// Opens the file, and makes it where there is none. Gives the highest position that either slot holds; `None`
    /// where neither is whole.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Seq>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; 2 * SLOT];
        let length = file.read_at(&mut bytes, 0)?;
        let slots: Vec<Option<Seq>> = bytes[..length].chunks(SLOT).map(read_slot).collect();
        let highest = slots.iter().flatten().max().copied();
        // The slot that holds the highest position is not the one to overwrite.
        let next_slot = u64::from(slots.first().is_some_and(|first| first.is_some() && *first == highest));
        Ok((Self { file, next_slot }, highest))
    }

    /// Raises the mark.
    pub(super) fn raise(&mut self, seq: Seq) -> io::Result<()> {
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&seq.0.to_be_bytes());
        slot[8..].copy_from_slice(&crc32fast::hash(&seq.0.to_be_bytes()).to_be_bytes());
        self.file.write_all_at(&slot, self.next_slot * SLOT as u64)?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }

    /// Makes it outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn read_slot(slot: &[u8]) -> Option<Seq> {
    let (seq, checksum) = slot.split_first_chunk::<8>()?;
    let whole = checksum == crc32fast::hash(seq).to_be_bytes();
    whole.then(|| Seq(u64::from_be_bytes(*seq)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_loss_of_either_slot_by_one_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acknowledged");
        let (mut mark, found) = HighWaterMark::open(&path).unwrap();
        assert_eq!(found, None);
        for seq in 1..=5 {
            mark.raise(Seq(seq)).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(HighWaterMark::open(&path).unwrap().1, Some(Seq(5)));
        for byte in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            let found = HighWaterMark::open(&path).unwrap().1;
            assert!(found == Some(Seq(5)) || found == Some(Seq(4)), "byte {byte}: {found:?}");
        }
    }

    #[test]
    fn a_reopened_mark_keeps_the_highest_while_it_writes_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acknowledged");
        for seq in 1..=4 {
            let (mut mark, found) = HighWaterMark::open(&path).unwrap();
            assert_eq!(found, (seq > 1).then_some(Seq(seq - 1)));
            let before = std::fs::read(&path).unwrap();
            mark.raise(Seq(seq)).unwrap();
            let after = std::fs::read(&path).unwrap();
            let kept = before.chunks(SLOT).zip(after.chunks(SLOT)).any(|(a, b)| a == b && read_slot(a) == found);
            assert!(seq == 1 || kept);
        }
    }
}
