//! A webhook's configuration: who is told what, and how often it is tried.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::id::{JobId, SecretId};
use super::rejection::Invalid;

/// Where a delivery goes: today a job's own webhook; a standing endpoint shared by many jobs would be another variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Destination {
    /// The webhook that the job was registered with.
    Webhook(JobId),
}

/// What a webhook can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// The job completed.
    Completed,
    /// The job failed.
    Failed,
    /// The job got on: a new count of requests, or a status on the way.
    Progress,
    /// The job was cancelled.
    Cancelled,
    /// The job's completion window ran out.
    Expired,
}

impl EventKind {
    /// Every kind, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::Progress, Self::Cancelled, Self::Expired];

    /// The name in `webhook.events` and in the `X-Webhook-Event` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Progress => "progress",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The kind of that name; `batch.completed` and the like are aliases.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("batch.").unwrap_or(name);
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Reads `webhook.events`: a non-empty list of names.
    ///
    /// # Errors
    /// Names every invalid entry and the valid ones.
    pub fn parse_list(names: &[String]) -> Result<Vec<Self>, Invalid> {
        let valid = || Self::ALL.map(Self::as_str).join(", ");
        let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| Self::parse(name).is_none()).collect();
        if !unknown.is_empty() {
            let message = format!("Invalid events: {}. Valid events: {}", unknown.join(", "), valid());
            return Err(Invalid::new("webhook.events", "invalid_event", message));
        }
        if names.is_empty() {
            let message = format!("webhook.events must name at least one event. Valid events: {}", valid());
            return Err(Invalid::new("webhook.events", "invalid_event", message));
        }
        let mut kinds: Vec<Self> = names.iter().filter_map(|name| Self::parse(name)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Ok(kinds)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the body of a delivery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The batch object of that moment.
    #[default]
    Batch,
    /// OpenAI's thin event, which names the batch only.
    Event,
}

impl Format {
    /// Reads `webhook.format`.
    ///
    /// # Errors
    /// When it is neither `batch` nor `event`.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        match name {
            "batch" => Ok(Self::Batch),
            "event" => Ok(Self::Event),
            _ => Err(Invalid::new("webhook.format", "invalid_format", "webhook.format is 'batch' or 'event'")),
        }
    }
}

/// A job's own webhook, as registered. What is `None` follows the global default of the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Names the secret that signs; without one the global secret signs, where there is one.
    pub secret: Option<SecretId>,
    /// The total number of attempts, 1 to 10.
    pub max_retries: Option<u32>,
    /// Seconds for a whole attempt, 5 to 300.
    pub timeout: Option<u32>,
    /// What it is told; all but progress when `None`.
    pub events: Option<Vec<EventKind>>,
    /// What the body is.
    pub format: Format,
}

impl Webhook {
    /// A webhook with every default.
    #[must_use]
    pub fn to(url: impl Into<String>) -> Self {
        let url = url.into();
        Self { url, secret: None, max_retries: None, timeout: None, events: None, format: Format::default() }
    }

    /// Whether it asked to be told of `kind`.
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        match &self.events {
            Some(events) => events.contains(&kind),
            None => kind != EventKind::Progress,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that is out of its bounds.
    pub fn check(&self, allow_http: bool) -> Result<(), Invalid> {
        check_url(&self.url, allow_http)?;
        if !(1..=10).contains(&self.max_retries.unwrap_or(1)) {
            let message = "webhook.max_retries is the total number of attempts, 1 to 10";
            return Err(Invalid::new("webhook.max_retries", "invalid_max_retries", message));
        }
        if !(5..=300).contains(&self.timeout.unwrap_or(5)) {
            let message = "webhook.timeout is in seconds, 5 to 300";
            return Err(Invalid::new("webhook.timeout", "invalid_timeout", message));
        }
        if self.events.as_ref().is_some_and(|events| events.is_empty() || events.len() > EventKind::ALL.len()) {
            return EventKind::parse_list(&[]).map(drop);
        }
        Ok(())
    }
}

/// Checks a webhook's URL as far as that is possible without resolving its name.
fn check_url(text: &str, allow_http: bool) -> Result<(), Invalid> {
    let wrong = |message: &str| Err(Invalid::new("webhook.url", "invalid_url", message));
    if text.len() > 2048 {
        return wrong("webhook.url must not be longer than 2048 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return wrong("webhook.url must not contain spaces or control characters");
    }
    let Ok(url) = Url::parse(text) else {
        return wrong("webhook.url must be an absolute URL such as https://example.com/hook");
    };
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => return wrong("webhook.url must be https here; http is for development (serve --dev)"),
        _ => return wrong("webhook.url must be an http or https URL"),
    }
    // The URL parser repairs `https:/example.com` and backslashes; what is registered is what was meant, or refused.
    if !text[url.scheme().len()..].starts_with("://") || text.contains('\\') || !url.has_host() {
        return wrong("webhook.url must be an absolute URL such as https://example.com/hook");
    }
    if !url.username().is_empty() || url.password().is_some() || host(text).contains('@') {
        return wrong("webhook.url must not contain a user name or password; use a secret and verify signatures");
    }
    if url.fragment().is_some() {
        return wrong("webhook.url must not have a fragment ('#…'): it would never reach the receiver");
    }
    Ok(())
}

/// The scheme, host and port of a URL, which is what attempts in flight are capped by: `https://example.com:443`.
///
/// A URL that cannot be read is its own authority, so that nothing is lost over it.
#[must_use]
pub fn authority(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) => format!(
            "{}://{}:{}",
            parsed.scheme(),
            parsed.host_str().unwrap_or_default(),
            parsed.port_or_known_default().unwrap_or_default()
        ),
        Err(_) => url.to_owned(),
    }
}

/// The host of a URL as it stands there, with the port where one is named; the URL was checked when it was registered.
#[must_use]
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn events_are_a_set_and_aliases_are_known() {
        let kinds = EventKind::parse_list(&names(&["batch.failed", "completed", "failed"]));
        assert_eq!(kinds, Ok(vec![EventKind::Completed, EventKind::Failed]));
    }

    #[test]
    fn invalid_events_are_named_with_the_valid_ones() {
        let error = EventKind::parse_list(&names(&["completed", "typo", "invalid_event"])).unwrap_err();
        assert_eq!(error.param, "webhook.events");
        assert_eq!(
            error.message,
            "Invalid events: typo, invalid_event. Valid events: completed, failed, progress, cancelled, expired"
        );
        assert!(EventKind::parse_list(&[]).is_err());
    }

    #[test]
    fn urls_that_would_not_do_are_refused() {
        let long = format!("https://a.example/{}", "x".repeat(2048));
        for bad in [
            "",
            "example.com/hook",
            "ftp://a.example/",
            "https:/a.example",
            "https://",
            "https://u:p@a.example/",
            "https://a.example/#x",
            "https://a.example/ x",
            "https://a.example\\@b.example/",
            "//a.example/",
            &long,
            "https://a.example/\n",
            "javascript:alert(1)",
            "https://user@a.example",
            "https://@a.example",
        ] {
            assert!(Webhook::to(bad).check(true).is_err(), "{bad:?}");
        }
        for good in
            ["https://a.example/hook?x=1", "HTTPS://a.example", "https://[2001:db8::1]:8443/", "http://127.0.0.1:9/"]
        {
            assert_eq!(Webhook::to(good).check(true), Ok(()), "{good:?}");
        }
        assert!(Webhook::to("http://a.example/").check(false).is_err());
    }

    #[test]
    fn bounds_are_inclusive() {
        for (tries, timeout, fine) in
            [(1, 5, true), (10, 300, true), (0, 5, false), (11, 5, false), (1, 4, false), (1, 301, false)]
        {
            let webhook =
                Webhook { max_retries: Some(tries), timeout: Some(timeout), ..Webhook::to("https://a.example/") };
            assert_eq!(webhook.check(false).is_ok(), fine, "{tries} {timeout}");
        }
    }

    #[test]
    fn the_host_has_its_port_where_one_is_named() {
        for (url, expected) in [
            ("https://a.example/x?y", "a.example"),
            ("http://[::1]:9000?x=/", "[::1]:9000"),
            ("https://a.example", "a.example"),
        ] {
            assert_eq!(host(url), expected);
        }
    }

    #[test]
    fn the_authority_is_scheme_host_and_port() {
        assert_eq!(authority("https://A.example/x?y"), "https://a.example:443");
        assert_eq!(authority("http://a.example:8080"), "http://a.example:8080");
    }
}
