//! The log as a feed: read from a position on, over interruptions.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::Failed;
use crate::cli::client::{Client, Refused, read};
use crate::clock;

/// Events in one answer.
const EVENTS: usize = 1000;

/// How long a server that does not answer is left alone: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A place in the log.
pub(in crate::cli) struct Feed {
    after: u64,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    last_seq: u64,
    head: u64,
    has_more: bool,
}

impl Feed {
    /// After the event at this position.
    pub(in crate::cli) const fn after(after: u64) -> Self {
        Self { after }
    }

    /// After the newest event.
    pub(in crate::cli) fn from_end(client: &Client) -> Result<Self, Failed> {
        // Positions end where the API's numbers do, and nothing comes after that one.
        let query = [("after", Some(i64::MAX.to_string())), ("limit", Some("1".into()))];
        let Page { head, .. } = read(&client.get("/v1/log", &query)?)?;
        Ok(Self { after: head })
    }

    /// The same, so many events before it.
    pub(in crate::cli) const fn back(self, events: u64) -> Self {
        Self { after: self.after.saturating_sub(events) }
    }

    /// Shows the next events to `see`, once there are any or the time is up. Whether there are more already.
    pub(in crate::cli) fn next(
        &mut self,
        client: &Client,
        wait: Duration,
        see: &mut dyn FnMut(&RawValue) -> Result<(), Failed>,
    ) -> Result<bool, Failed> {
        let page = self.page(client, wait)??;
        self.show(&page, see)
    }

    /// As [`next`](Self::next), but a server that can't be reached is asked again until it answers: it may be restarting.
    /// `say` is told of that once.
    pub(in crate::cli) fn read(
        &mut self,
        client: &Client,
        wait: Duration,
        say: &mut dyn FnMut(&str),
        see: &mut dyn FnMut(&RawValue) -> Result<(), Failed>,
    ) -> Result<bool, Failed> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.page(client, wait)? {
                Ok(page) => return self.show(&page, see),
                Err(Refused::Unavailable(message)) => {
                    if pause == FIRST_PAUSE {
                        say(&format!("hookledger: {message}. Asking again, from position {} on …", self.after));
                    }
                    clock::pause(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    fn page(&self, client: &Client, wait: Duration) -> Result<Result<Page, Refused>, Failed> {
        let query = [
            ("after", Some(self.after.to_string())),
            ("limit", Some(EVENTS.to_string())),
            ("wait", Some(wait.as_secs().to_string())),
        ];
        match client.poll("/v1/log", &query, wait) {
            Ok(page) => read(&page).map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn show(&mut self, page: &Page, see: &mut dyn FnMut(&RawValue) -> Result<(), Failed>) -> Result<bool, Failed> {
        if page.head < self.after {
            let (head, after) = (page.head, self.after);
            return Err(Failed::Run(format!("the log ends at position {head}; there is nothing after {after}")));
        }
        page.data.iter().try_for_each(|event| see(event))?;
        self.after = page.last_seq;
        Ok(page.has_more)
    }
}
