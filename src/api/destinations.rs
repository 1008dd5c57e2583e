//! Where webhooks may go, as far as that can be told when they are registered: whoever will refuse to deliver says so here.

use std::fmt;
use std::sync::Arc;

/// Judges a URL: why nothing may be sent there, or nothing.
type Judge = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Which URLs webhooks may be registered with, beyond what the domain demands of any. The default lets all of them pass.
#[derive(Clone, Default)]
pub struct Destinations(Option<Arc<Judge>>);

impl Destinations {
    /// Those that `judge` has nothing against; its error is the reason, for the client.
    #[must_use]
    pub fn new(judge: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(judge)))
    }

    pub(super) fn check(&self, url: &str) -> Result<(), String> {
        self.0.as_ref().map_or(Ok(()), |judge| judge(url))
    }
}

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Destinations(judged)" } else { "Destinations(all)" })
    }
}
