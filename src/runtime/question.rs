//! What the engine's thread is asked beside commands: what deliveries wait for. Nothing is recorded for an answer, and
//! nobody depends on one, so questions have a way of their own and take no command's place.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::domain::id::DeliveryId;
use crate::engine::Engine;
use crate::schedule::WaitsFor;

/// Questions that have not been read yet, at most: the engine reads one between two steps, so this is a moment's work.
const QUESTIONS: usize = 64;

/// What each of some deliveries waits for; one that waits for nothing is not in it.
pub type Waits = HashMap<DeliveryId, WaitsFor>;

/// What do these deliveries wait for?
pub(super) struct Question {
    deliveries: Vec<DeliveryId>,
    reply: oneshot::Sender<Waits>,
}

impl Question {
    /// Answers it; whoever asked may have gone.
    pub(super) fn answer(self, engine: &Engine) {
        if !self.reply.is_closed() {
            let waits = self.deliveries.iter().filter_map(|id| Some((*id, engine.waits_for(*id)?))).collect();
            let _ = self.reply.send(waits);
        }
    }
}

/// The way in for questions, and where they come out.
pub(super) fn channel() -> (Sender<Question>, Receiver<Question>) {
    bounded(QUESTIONS)
}

/// Asks; nothing is known when too many ask, or nobody is there to answer.
pub(super) async fn ask(questions: Sender<Question>, deliveries: Vec<DeliveryId>) -> Waits {
    let (reply, answer) = oneshot::channel();
    match questions.try_send(Question { deliveries, reply }) {
        Ok(()) => answer.await.unwrap_or_default(),
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Waits::new(),
    }
}
