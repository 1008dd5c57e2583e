//! HTTP out: the seam between what is to be delivered and the world.
//!
//! One call is one attempt. Everything above sees values only: a [`Request`] goes in, an [`Outcome`] comes out, and
//! what went wrong on the way is a part of that value. Tests put a scripted implementation here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::headers::CustomHeaders;
use crate::domain::outcome::Outcome;

pub mod guard;
pub mod proxy;
pub mod resolver;
pub mod roots;
pub mod ureq;

/// One attempt: a `POST` of these bytes.
#[derive(Clone)]
pub struct Request {
    /// Where to: an absolute `http` or `https` URL.
    pub url: String,
    /// The headers of this attempt, see [`crate::signature::headers`]. The transport adds `Content-Type`,
    /// `User-Agent`, `Accept-Encoding` and what HTTP itself needs.
    pub headers: Vec<(&'static str, String)>,
    /// The webhook's own headers. They come after all others, and none of them has the name of one.
    pub custom: CustomHeaders,
    /// The body: the very bytes that were signed.
    pub body: Arc<[u8]>,
    /// How long the whole attempt may take, from the name's look-up to the end of the response's body.
    pub timeout: Duration,
}

/// Without the URL (its query may be a credential), the headers and the body.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("timeout", &self.timeout)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Makes attempts.
///
/// An implementation keeps these promises:
///
/// - `send` blocks, may be called from many threads at once, and neither panics nor fails: whatever happens is an
///   [`Outcome`].
/// - It ends within the request's timeout, give or take a second for the last operation under way.
/// - A response counts once its head is complete. What happens to the body afterwards (too long, too slow, cut off)
///   changes the excerpt only.
/// - Redirects are responses like any other, never followed.
/// - It sends the body's bytes as they are, at least once. Where a kept-alive connection turns out to be dead before
///   anything of a response was read, the same request may be sent once more on a new one.
/// - Failure texts are short and contain neither the URL nor a header.
pub trait Transport: Send + Sync {
    /// Makes one attempt, and says what it came to.
    fn send(&self, request: &Request) -> Outcome;

    /// Interrupts the attempts in flight and refuses new ones. Those that end by it are
    /// [`FailureKind::Internal`](crate::domain::outcome::FailureKind::Internal): they say nothing of the receiver.
    fn shutdown(&self) {}
}
