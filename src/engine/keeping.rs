//! Answers that are kept under idempotency keys, and forgotten when their time is over.

use super::Engine;
use super::exchange::{Answer, EngineError, Keep, Rendered};
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;
use crate::log::{LogError, LogReader, RowWrite};
use crate::views::answers::{self, KeptAnswer};

/// How many answers are forgotten in one step at most: the rest follow in the next one.
const FORGOTTEN_PER_STEP: usize = 256;

/// When there is something to forget.
pub(super) struct Keeping {
    next_expiry: Option<Timestamp>,
}

impl Keeping {
    pub(super) fn open(reader: &dyn LogReader) -> Result<Self, LogError> {
        Ok(Self { next_expiry: answers::next_expiry(reader)? })
    }

    pub(super) const fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// The rows that forget what is over at `now`.
    pub(super) fn forget(&mut self, reader: &dyn LogReader, now: Timestamp) -> Result<Vec<RowWrite>, LogError> {
        match self.next_expiry {
            Some(expiry) if expiry <= now => {}
            _ => return Ok(Vec::new()),
        }
        let forgotten = answers::forget(reader, now, FORGOTTEN_PER_STEP)?;
        if forgotten.is_empty() {
            self.next_expiry = answers::next_expiry(reader)?;
        }
        Ok(forgotten)
    }
}

impl Engine {
    /// Drafts the rows that keep an answer, if it is to be kept.
    pub(super) fn keep(
        &mut self,
        keep: Option<&Keep>,
        reply: &Result<Answer, Rejection>,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        let Some(Keep { key, request, render }) = keep else { return Ok(()) };
        let Some(Rendered { status, version, body }) = render(reply) else { return Ok(()) };
        let answer = KeptAnswer { at, request: *request, status, version, body };
        self.draft.rows.extend(answers::keep(&*self.reader, key, &answer)?);
        let expiry = at.plus(answers::KEPT);
        self.keeping.next_expiry = Some(self.keeping.next_expiry.map_or(expiry, |next| next.min(expiry)));
        Ok(())
    }
}
