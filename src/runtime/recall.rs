//! The statistics of the last day, read back from the log by a thread of its own while the engine is at work already.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::domain::id::Seq;
use crate::domain::observation::Observation;
use crate::domain::time::Timestamp;
use crate::log::{LogError, LogReader};
use crate::meter::{Meter, REACH};
use crate::views::Views;

/// Events that are read back at most: a few seconds' work. A server that records more than this in a day has statistics
/// of its newest events after a restart.
const EVENTS: u64 = 500_000;

/// Events that are read at a time.
const CHUNK: usize = 512;

/// How long to leave the cores and the cache to others between two chunks.
const REST: Duration = Duration::from_millis(5);

/// Reads what was recorded up to `tail` within the reach of the statistics, unless it is told to stop.
pub(super) fn recall(reader: &Arc<dyn LogReader>, meter: &Meter, tail: Seq, now: Timestamp, stop: &Receiver<()>) {
    if let Err(error) = read(&**reader, meter, tail, now, stop) {
        tracing::warn!(%error, "the statistics of the last day could not be read back from the log");
    }
}

fn read(reader: &dyn LogReader, meter: &Meter, tail: Seq, now: Timestamp, stop: &Receiver<()>) -> Result<(), LogError> {
    let since = Timestamp::from_millis(now.as_millis() - i64::try_from(REACH.as_millis()).unwrap_or(0));
    let mut at = first_since(reader, tail, since)?;
    while at < tail && stop.recv_timeout(REST) == Err(RecvTimeoutError::Timeout) {
        let left = usize::try_from(tail.0 - at.0).unwrap_or(CHUNK);
        let events = match reader.events(at, left.min(CHUNK)) {
            Err(LogError::Pruned { horizon }) => {
                at = horizon;
                continue;
            }
            events => events?,
        };
        let Some(last) = events.last() else { break };
        at = last.seq;
        for envelope in &events {
            let Some(delivery) = envelope.event.ends_attempt_of() else { continue };
            if let Some(delivery) = Views::new(reader).delivery(delivery)? {
                meter.recall(&Observation::of(envelope, &delivery));
            }
        }
    }
    meter.recalled();
    Ok(())
}

/// The position after which events are at most so old. Positions follow time, except while a clock was set back.
fn first_since(reader: &dyn LogReader, tail: Seq, since: Timestamp) -> Result<Seq, LogError> {
    let (mut low, mut high) = (tail.0.saturating_sub(EVENTS), tail.0);
    while low < high {
        let middle = low + (high - low) / 2;
        match reader.event(Seq(middle + 1))? {
            Some(event) if event.at >= since => high = middle,
            // What was given up is older.
            Some(_) | None => low = middle + 1,
        }
    }
    Ok(Seq(low))
}
