//! A log that tells how long its commits take.

use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::domain::event::Event;
use crate::domain::id::Seq;
use crate::log::chain::Head;
use crate::log::{Commit, EventLog, LogError, LogReader};
use crate::meter::Meter;

/// Measures the commits of another log, and is that log in everything else.
pub(super) struct Metered {
    pub(super) log: Box<dyn EventLog>,
    pub(super) meter: Arc<Meter>,
}

impl EventLog for Metered {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        let watch = Stopwatch::start();
        let tail = self.log.commit(commit)?;
        self.meter.committed(commit.events.len(), watch.elapsed());
        let pruned = commit.events.iter().filter(|envelope| envelope.event == Event::JobPruned);
        self.meter.pruned(pruned.count());
        Ok(tail)
    }

    fn head(&self) -> Head {
        self.log.head()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}
