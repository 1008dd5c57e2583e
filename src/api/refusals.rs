//! Requests that were turned away at the door, told so that many of them do not drown everything else: the first at once, and
//! after a while how many have followed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// How long they are counted before it is told how many there were.
const SPAN: Duration = Duration::from_secs(10);

/// Those that followed the first of their kind, by `code`. A kind that is not in here has not been met for a while.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<HashMap<&'static str, u64>>>);

impl Refusals {
    /// Takes note of one, from a peer if that is known. To be called where tasks run.
    pub(super) fn note(&self, code: &'static str, request_id: Option<&str>, peer: Option<IpAddr>) {
        if let Some(more) = self.0.lock().get_mut(code) {
            *more += 1;
            return;
        }
        self.0.lock().insert(code, 0);
        let peer = peer.map(tracing::field::display);
        tracing::warn!(code, request_id, peer, "a request was refused; more of its kind are counted");
        let refusals = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SPAN).await;
            refusals.tell(code);
        });
    }

    fn tell(&self, code: &'static str) {
        let more = self.0.lock().remove(code).unwrap_or_default();
        if more > 0 {
            tracing::warn!(code, more, seconds = SPAN.as_secs(), "more requests were refused");
        }
    }

    /// Tells what has not been told, at the end.
    pub(super) fn tell_all(&self) {
        let codes: Vec<_> = self.0.lock().keys().copied().collect();
        for code in codes {
            self.tell(code);
        }
    }
}
