//! Which dead letters are meant: by batch, event, URL, outcome and time. What is left out matches all.

use crate::api::problem::Problem;
use crate::api::query::Query;
use crate::domain::delivery::DeadLetter;
use crate::domain::id::JobId;
use crate::domain::time::Timestamp;
use crate::domain::webhook::EventKind;

#[derive(Default, PartialEq)]
pub(super) struct Filter {
    batch_id: Option<JobId>,
    event: Option<EventKind>,
    /// The whole URL.
    url: Option<String>,
    /// Whether a retry has succeeded.
    resolved: Option<bool>,
    /// Given up at this time or later.
    since: Option<Timestamp>,
    /// Given up before this time.
    until: Option<Timestamp>,
}

impl Filter {
    pub(super) fn take(query: &mut Query) -> Result<Self, Problem> {
        let events = EventKind::ALL.map(EventKind::as_str).join(", ");
        let time = "a time such as 2026-01-31T09:30:00Z";
        Ok(Self {
            batch_id: query.parsed("batch_id", "the id of a batch", |id| JobId::new(id).ok())?,
            event: query.parsed("event", &format!("one of {events}"), EventKind::parse)?,
            url: query.text("url"),
            resolved: query.flag("resolved")?,
            since: query.parsed("since", time, read_time)?,
            until: query.parsed("until", time, read_time)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        self.batch_id.as_ref().is_none_or(|id| *id == letter.job)
            && self.event.is_none_or(|event| event == letter.kind)
            && self.url.as_ref().is_none_or(|url| *url == letter.url)
            && self.resolved.is_none_or(|resolved| resolved == (letter.retry_success == Some(true)))
            && self.since.is_none_or(|since| letter.created_at >= since)
            && self.until.is_none_or(|until| letter.created_at < until)
    }
}

/// ISO 8601 with an offset.
fn read_time(text: &str) -> Option<Timestamp> {
    // In a query a `+` stands for a space; in a time it can only have been the sign of the offset.
    let at: jiff::Timestamp = text.replace(' ', "+").parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_an_offset() {
        let nine = Some(Timestamp::from_millis(1_769_851_800_250));
        assert_eq!(read_time("2026-01-31T09:30:00.250Z"), nine);
        assert_eq!(read_time("2026-01-31T11:30:00.250 02:00"), nine);
        for bad in ["2026-01-31", "2026-01-31T09:30:00", "yesterday", "", "1769851800"] {
            assert_eq!(read_time(bad), None, "{bad}");
        }
    }
}
