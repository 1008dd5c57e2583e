//! One attempt that is to be made, and how it becomes a request: signed at the moment at which it is sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::headers::CustomHeaders;
use crate::domain::id::DeliveryId;
use crate::domain::outcome::{Outcome, Response};
use crate::domain::time::Timestamp;
use crate::domain::webhook::EventKind;
use crate::signature::{self, Message, Secret};
use crate::transport::Request;

/// An attempt that was recorded as started and is now to be made.
#[derive(Clone)]
pub struct Attempt {
    /// The delivery.
    pub delivery: DeliveryId,
    /// 1 for the first.
    pub number: u32,
    /// What it tells.
    pub kind: EventKind,
    /// Where it goes.
    pub url: String,
    /// The time for all of it.
    pub timeout: Duration,
    /// The payload's exact bytes, the same for every attempt.
    pub body: Arc<[u8]>,
    /// What signs, newest first; none: it goes unsigned.
    pub secrets: Vec<Secret>,
    /// What is sent besides our own headers.
    pub headers: CustomHeaders,
}

/// Without the URL (its query may be a credential) and the body.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivery, number, kind, .. } = self;
        f.debug_struct("Attempt")
            .field("delivery", delivery)
            .field("number", number)
            .field("kind", kind)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    /// The request as it is sent at `now`: timestamp and signatures are this attempt's own.
    #[must_use]
    pub fn request(&self, now: Timestamp) -> Request {
        let id = self.delivery.to_string();
        let message = Message {
            id: &id,
            timestamp: now.as_seconds(),
            event: self.kind.as_str(),
            attempt: self.number,
            body: &self.body,
        };
        Request {
            url: self.url.clone(),
            headers: signature::headers(&message, &self.secrets),
            custom: self.headers.clone(),
            body: Arc::clone(&self.body),
            timeout: self.timeout,
        }
    }

    /// What it came to, fit to be recorded: without the values of its headers, should the receiver have repeated them.
    #[must_use]
    pub fn concealed(&self, outcome: Outcome) -> Outcome {
        let Outcome { duration_ms, result } = outcome;
        let result = result.map(|response| Response { excerpt: self.headers.concealed(response.excerpt), ..response });
        Outcome { duration_ms, result }
    }
}
