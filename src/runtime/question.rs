//! What the engine's thread is asked beside commands: what deliveries wait for, how destinations stand. Nothing is recorded
//! for an answer, and nobody depends on one, so questions have a way of their own and take no command's place.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::schedule::{Condition, WaitsFor};

/// Questions that have not been read yet, at most: the engine reads one between two steps, so this is a moment's work.
const QUESTIONS: usize = 64;

/// What each of some deliveries waits for; one that waits for nothing is not in it.
pub type Waits = HashMap<DeliveryId, WaitsFor>;

/// A question, and the way of its answer.
pub(super) enum Question {
    /// What do these deliveries wait for?
    Waits(Vec<DeliveryId>, oneshot::Sender<Waits>),
    /// How do destinations stand, so many of them at most?
    Conditions(usize, oneshot::Sender<Vec<Condition>>),
}

impl Question {
    /// Answers it; whoever asked may have gone.
    pub(super) fn answer(self, engine: &Engine, now: Timestamp) {
        match self {
            Self::Waits(deliveries, reply) if !reply.is_closed() => {
                let waits = deliveries.iter().filter_map(|id| Some((*id, engine.waits_for(*id)?))).collect();
                let _ = reply.send(waits);
            }
            Self::Conditions(limit, reply) if !reply.is_closed() => {
                let _ = reply.send(engine.conditions(now, limit));
            }
            Self::Waits(..) | Self::Conditions(..) => {}
        }
    }
}

/// The way in for questions, and where they come out.
pub(super) fn channel() -> (Sender<Question>, Receiver<Question>) {
    bounded(QUESTIONS)
}

/// Asks; nothing is known when too many ask, or nobody is there to answer.
pub(super) async fn ask<T>(
    questions: Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    match questions.try_send(question(reply)) {
        Ok(()) => answer.await.ok(),
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
    }
}
