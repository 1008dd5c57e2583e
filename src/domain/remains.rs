//! What a log that was given up in part has left of jobs that were pruned: their last events, whose beginning went before
//! them. Replaying passes over those, and tells them from events whose beginning is lost.

use std::collections::HashMap;

use super::event::{Envelope, Event};
use super::id::{JobId, Seq};

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// What came up to here was given up.
    horizon: Seq,
    /// The newest event of each job of which there are remains, until the one that says that it was pruned.
    heads: HashMap<JobId, Seq>,
}

impl Remains {
    pub(super) fn after(horizon: Seq) -> Self {
        Self { horizon, heads: HashMap::new() }
    }

    /// The jobs whose remains have not ended.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.heads.keys()
    }

    /// Whether an event of a job that is not known belongs to the remains: it follows one that was given up, or another one
    /// of them.
    pub(super) fn take(&mut self, Envelope { seq, job, prev, event, .. }: &Envelope) -> bool {
        let follows = match self.heads.get(job) {
            Some(head) => head == prev,
            None => Seq::ZERO < *prev && *prev <= self.horizon,
        };
        if follows {
            match event {
                Event::JobPruned => self.heads.remove(job),
                _ => self.heads.insert(job.clone(), *seq),
            };
        }
        follows
    }
}
