//! A log that tells how long its commits take.

use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::domain::event::Envelope;
use crate::domain::id::Seq;
use crate::log::{EventLog, LogError, LogReader, RowWrite};
use crate::meter::Meter;

/// Measures the commits of another log, and is that log in everything else.
pub(super) struct Metered {
    pub(super) log: Box<dyn EventLog>,
    pub(super) meter: Arc<Meter>,
}

impl EventLog for Metered {
    fn commit(&mut self, after: Seq, events: &[Envelope], rows: &[RowWrite]) -> Result<Seq, LogError> {
        let watch = Stopwatch::start();
        let tail = self.log.commit(after, events, rows)?;
        self.meter.committed(events.len(), watch.elapsed());
        Ok(tail)
    }

    fn tail(&self) -> Seq {
        self.log.tail()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}
