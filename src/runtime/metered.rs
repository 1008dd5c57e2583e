//! A log that tells how long its commits take.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::domain::event::Event;
use crate::domain::id::Seq;
use crate::log::chain::Head;
use crate::log::{Commit, EventLog, LogError, LogReader};
use crate::meter::Meter;

/// A commit that takes longer is told: everybody who writes waits for it.
const SLOW: Duration = Duration::from_secs(1);

/// How long after such a line there is no other.
const QUIET: Duration = Duration::from_secs(10);

/// Measures the commits of another log, and is that log in everything else.
pub(super) struct Metered {
    log: Box<dyn EventLog>,
    meter: Arc<Meter>,
    /// Since a slow commit was told, and how many there were after it.
    told: Option<Stopwatch>,
    untold: u64,
}

impl Metered {
    pub(super) const fn new(log: Box<dyn EventLog>, meter: Arc<Meter>) -> Self {
        Self { log, meter, told: None, untold: 0 }
    }

    fn tell(&mut self, events: usize, watch: Stopwatch) {
        if watch.elapsed() < SLOW {
            return;
        }
        if self.told.is_some_and(|told| told.elapsed() < QUIET) {
            self.untold += 1;
            return;
        }
        let others = std::mem::take(&mut self.untold);
        tracing::warn!(events, duration_ms = watch.elapsed_millis(), others, "a commit was slow: the disk is");
        self.told = Some(Stopwatch::start());
    }
}

impl EventLog for Metered {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Seq, LogError> {
        let watch = Stopwatch::start();
        let tail = self.log.commit(commit)?;
        self.meter.committed(commit.events.len(), watch.elapsed());
        self.tell(commit.events.len(), watch);
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
