//! What events say of destinations: for whoever counts and measures, live or from the log.

use std::time::Duration;

use super::delivery::Delivery;
use super::event::{Envelope, Event};
use super::time::Timestamp;
use super::webhook::host;

/// Something seen of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it was recorded.
    pub at: Timestamp,
    /// The destination's host, with the port where the URL names one.
    pub host: String,
    /// What it was.
    pub what: Observed,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// An attempt ended.
    Attempt {
        /// Whether the receiver took it.
        succeeded: bool,
        /// How long it took.
        duration: Duration,
    },
    /// A delivery was taken.
    Delivered {
        /// How long after it was decided on; `None` for one that was sent by hand.
        after: Option<Duration>,
    },
    /// A delivery was given up.
    Dead,
    /// A delivery was not needed any more.
    Superseded,
}

impl Observation {
    /// What `envelope` says; `delivery` is the one that it tells of, as it is after that or later.
    #[must_use]
    pub fn of(Envelope { at, event, .. }: &Envelope, delivery: &Delivery) -> Vec<Self> {
        let attempt = |succeeded: bool, millis: u32| Observed::Attempt {
            succeeded,
            duration: Duration::from_millis(u64::from(millis)),
        };
        let seen = match event {
            Event::AttemptSucceeded { end, .. } => {
                let by_itself = delivery.dead_letter.is_none() && delivery.delivered_at == Some(*at);
                let after = by_itself.then(|| at.since(delivery.created_at));
                vec![attempt(true, end.duration_ms), Observed::Delivered { after }]
            }
            Event::AttemptFailed { end, .. } => vec![attempt(false, end.duration_ms)],
            Event::DeliveryExhausted { .. } => vec![Observed::Dead],
            Event::DeliverySuperseded { .. } => vec![Observed::Superseded],
            _ => return Vec::new(),
        };
        seen.into_iter().map(|what| Self { at: *at, host: host(&delivery.url).to_ascii_lowercase(), what }).collect()
    }
}
