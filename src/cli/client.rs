//! The client of a running server's API: it asks, and makes a failure's answer one sentence for a person.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use ureq::http::HeaderValue;
use url::form_urlencoded;

use super::Failed;
use crate::config::{Config, Hidden};
use crate::domain::outcome::clip;
use crate::transport::roots::Roots;

/// How long it may take to reach the server.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take that is given at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long an attempt at a receiver may take at most, which a retry waits for.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(5);

/// The longest answer, in bytes: a page of events has a megabyte and some.
const ANSWER_BYTES: u64 = 64 << 20;

/// The way to a server.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    /// What `Authorization` carries.
    key: Option<HeaderValue>,
}

/// Parameters of a query; those that are `None` are left out.
pub(super) type Query<'a> = &'a [(&'static str, Option<String>)];

/// What is asked.
struct Call<'a> {
    method: &'static str,
    path: &'a str,
    query: Query<'a>,
    body: Option<&'a serde_json::Value>,
    at_most: Duration,
}

impl<'a> Call<'a> {
    const fn of(method: &'static str, path: &'a str) -> Self {
        Self { method, path, query: &[], body: None, at_most: PATIENCE }
    }
}

/// A page of a list. The objects are kept as they came.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(super) has_more: bool,
    /// What the next page comes after.
    pub(super) last_id: Option<String>,
    /// How many there are in all, where that is said.
    pub(super) total: Option<u64>,
}

/// Why there is no answer of the kind that was asked for.
pub(super) enum Refused {
    /// The server can't be reached, or not now: perhaps later.
    Unavailable(String),
    /// It has said no.
    No(String),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unavailable(message) | Refused::No(message) => Self::Run(message),
        }
    }
}

#[derive(Deserialize)]
struct Problem {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: String,
    message: String,
}

impl Client {
    pub(super) fn new(config: &Config, roots: &Roots) -> Result<Self, Failed> {
        let bearer = |key: &Hidden| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
                .map_err(|_| Failed::Usage(format!("{}: a key has no such characters", config.origin("api_key"))))?;
            value.set_sensitive(true);
            Ok::<_, Failed>(value)
        };
        let tls = ureq::tls::TlsConfig::builder().root_certs(roots.for_ureq()).build();
        let settings = ureq::Agent::config_builder()
            .proxy(None)
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("hookledger-cli/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT));
        let key = config.api_key.as_ref().map(bearer).transpose()?;
        Ok(Self { agent: settings.build().new_agent(), base: config.server.clone(), key })
    }

    pub(super) fn get(&self, path: &str, query: Query<'_>) -> Result<Box<RawValue>, Refused> {
        self.ask(&Call { query, ..Call::of("GET", path) })
    }

    /// As [`get`](Self::get), for what the server waits with up to `at_most`.
    pub(super) fn poll(&self, path: &str, query: Query<'_>, at_most: Duration) -> Result<Box<RawValue>, Refused> {
        self.ask(&Call { query, at_most: at_most + PATIENCE, ..Call::of("GET", path) })
    }

    pub(super) fn delete(&self, path: &str) -> Result<Box<RawValue>, Refused> {
        self.ask(&Call::of("DELETE", path))
    }

    /// Answered when it is done, which may be an attempt at a slow receiver.
    pub(super) fn post(&self, path: &str, query: Query<'_>) -> Result<Box<RawValue>, Refused> {
        self.ask(&Call { query, at_most: LONGEST_ATTEMPT + PATIENCE, ..Call::of("POST", path) })
    }

    /// Sends `body`, a JSON object.
    pub(super) fn send(&self, path: &str, body: &serde_json::Value) -> Result<Box<RawValue>, Refused> {
        self.ask(&Call { body: Some(body), ..Call::of("POST", path) })
    }

    /// Follows a list from page to page, up to `most` objects. `see` gets each page; what it says is whether to go on.
    pub(super) fn pages(
        &self,
        path: &str,
        filter: Query<'_>,
        most: usize,
        page_size: usize,
        mut see: impl FnMut(&Page) -> Result<(), Failed>,
    ) -> Result<Left, Failed> {
        let (mut seen, mut place) = (0, ("after", None));
        loop {
            let limit = page_size.min(most - seen);
            let query = [filter, &[("limit", Some(limit.to_string())), place]].concat();
            let page: Page = read(&self.get(path, &query)?)?;
            seen += page.data.len();
            see(&page)?;
            if !page.has_more || page.data.is_empty() || seen >= most {
                return Ok(Left { seen, has_more: page.has_more, total: page.total });
            }
            // Dead letters alone are counted off.
            place = page.last_id.map_or_else(|| ("offset", Some(seen.to_string())), |id| ("after", Some(id)));
        }
    }

    /// What is no JSON.
    pub(super) fn text(&self, path: &str) -> Result<String, Refused> {
        self.answer(&Call::of("GET", path))
    }

    fn ask(&self, call: &Call<'_>) -> Result<Box<RawValue>, Refused> {
        let strange =
            |_| Refused::No(format!("what answers at {} is no hookledger server: it sends no JSON", self.base));
        RawValue::from_string(self.answer(call)?).map_err(strange)
    }

    fn answer(&self, call: &Call<'_>) -> Result<String, Refused> {
        let answer = self.request(call).map_err(|error| self.unreachable(&error))?;
        let (head, mut body) = answer.into_parts();
        let text = body.with_config().limit(ANSWER_BYTES).read_to_string().map_err(|error| self.unreachable(&error))?;
        if head.status.is_success() {
            return Ok(text);
        }
        let status = head.status.as_u16();
        let Ok(Problem { error: ErrorObject { code, message } }) = serde_json::from_str(&text) else {
            let message = format!("what answers at {} says HTTP {status}, and not why", self.base);
            // A proxy in front of it speaks like this while there is nothing behind it.
            return Err(if status >= 500 { Refused::Unavailable(message) } else { Refused::No(message) });
        };
        let message = format!("{}{}", clip(&message, 2000), advice(&code));
        Err(if matches!(status, 429 | 503) { Refused::Unavailable(message) } else { Refused::No(message) })
    }

    fn request(&self, call: &Call<'_>) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let Call { method, path, query, body, at_most } = *call;
        let mut url = format!("{}{path}", self.base);
        let given: Vec<_> = query.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        if !given.is_empty() {
            url = format!("{url}?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish());
        }
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(key) = &self.key {
            request = request.header("authorization", key);
        }
        match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string())?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(at_most)).build())
            }
            None => {
                let request = request.body(())?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(at_most)).build())
            }
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Refused {
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        Refused::Unavailable(format!(
            "no answer from {}: {why}. Is `hookledger serve` running there? Another address is given by --server URL or \
             HOOKLEDGER_SERVER",
            self.base
        ))
    }
}

/// What a list has beyond what was seen of it.
pub(super) struct Left {
    pub(super) seen: usize,
    pub(super) has_more: bool,
    pub(super) total: Option<u64>,
}

/// An object of the API, as far as this program knows it. A newer server may say more.
pub(super) fn read<T: DeserializeOwned>(object: &RawValue) -> Result<T, Failed> {
    let strange =
        |error| Failed::Run(format!("the server's answer is not understood, it may be of another version: {error}"));
    serde_json::from_str(object.get()).map_err(strange)
}

/// What to do about it, on this command line.
fn advice(code: &str) -> &'static str {
    match code {
        "missing_api_key" => " Here: in HOOKLEDGER_API_KEY, or in the file that HOOKLEDGER_API_KEY_FILE names.",
        "invalid_api_key" => " It is from HOOKLEDGER_API_KEY, its file, or api_key of the configuration.",
        "already_retried" | "already_delivered" => " Here that is --force.",
        "overloaded" | "shutting_down" | "storage_failing" => " Try again in a few seconds.",
        _ => "",
    }
}
