//! The transport over ureq: blocking calls on the caller's thread.
//!
//! What needs care, and where it is: which address is dialled ([`super::resolver`]), what a call had reached when it
//! failed (`connector`), how an egress proxy is passed (`tunnel`), which stage an error belongs to (`failure`), and what is read of a response (`answer`).
//!
//! Many agents instead of one: ureq's pool of idle connections works in O(idle × hosts) under one lock, which
//! collapses with many destinations. An authority always meets the same agent, so its connections are found again.
//!
//! A kept-alive connection that the receiver has closed is found by ureq's probe before it is used, but for the moment
//! between the probe and the write. ureq itself repeats nothing; here a call is repeated once, on a new connection,
//! if it failed on a kept-alive one before a single byte of a response. The receiver may have got it all the same,
//! which is what `webhook-id` is for.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::ureq::config::Config;
use ::ureq::http::HeaderValue;
use ::ureq::tls::{TlsConfig, TlsProvider};
use ::ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ::ureq::{Agent, Body, http};
use url::Url;

use super::guard::Guard;
use super::proxy::EgressProxy;
use super::resolver::{GuardedResolver, RESOLVE_TIMEOUT};
use super::roots::Roots;
use super::{Request, Transport};
use crate::clock::Stopwatch;
use crate::domain::outcome::{Failure, FailureKind, Outcome, Response};

mod answer;
mod connector;
mod failure;
mod tunnel;

use connector::{Mark, Reached, SharedTls, Stage, Watch};
use tunnel::Tunnel;

/// Agents, each with a pool of its own.
const AGENTS: usize = 32;

/// How long opening a connection may take, the TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections kept for one destination.
const MAX_IDLE_PER_HOST: usize = 4;

/// Idle connections kept by one agent; 2,048 in all, with 28 KiB of buffers each, and twice that under TLS.
const MAX_IDLE: usize = 64;

/// Idle connections kept at most, over all destinations.
pub const IDLE_CONNECTIONS: usize = MAX_IDLE * AGENTS;

/// Shorter than the idle timeouts of common servers, so that it is us who close.
const MAX_IDLE_AGE: Duration = Duration::from_secs(15);

/// The longest response head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Above the longest head, so that it is the limit that is met and not the end of the buffer.
const INPUT_BUFFER_BYTES: usize = 20 * 1024;

/// The deadline is looked at once for each buffer that is written.
const OUTPUT_BUFFER_BYTES: usize = 8 * 1024;

/// How a [`UreqTransport`] is set up.
#[derive(Clone, Debug, Default)]
pub struct UreqSettings {
    /// Where requests may go.
    pub guard: Guard,
    /// Who may vouch for a receiver's certificate.
    pub roots: Roots,
    /// The way out, if there is but one. With it the guard checks URLs only, see [`super::proxy`].
    pub proxy: Option<EgressProxy>,
}

/// Sends with ureq, under the guard.
///
/// TLS is rustls with `ring`, at least TLS 1.2; nothing turns verification off. No proxy is taken from the environment:
/// behind one, the guard sees URLs only, and that is for an operator to choose.
pub struct UreqTransport {
    guard: Guard,
    agents: Vec<Agent>,
    closed: AtomicBool,
}

impl UreqTransport {
    /// Sets up the agents. Nothing is connected, and no thread started, before it is needed.
    #[must_use]
    pub fn new(settings: UreqSettings) -> Self {
        let resolver = GuardedResolver::new(settings.guard.clone());
        Self::with_resolver(settings, resolver)
    }

    /// As [`UreqTransport::new`], with a look-up of the program's own in place of the system's. What it answers is
    /// checked by the guard all the same.
    #[must_use]
    pub fn with_look_up(
        settings: UreqSettings,
        look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let resolver = GuardedResolver::new(settings.guard.clone()).with_look_up(look_up);
        Self::with_resolver(settings, resolver)
    }

    fn with_resolver(settings: UreqSettings, resolver: GuardedResolver) -> Self {
        let proxied = settings.proxy.is_some();
        let resolver = match settings.proxy {
            Some(proxy) => resolver.through(proxy),
            None => resolver,
        };
        let tls = Arc::new(RustlsConnector::default());
        let config = config(&settings.roots);
        let agents = (0..AGENTS).map(|_| agent(config.clone(), proxied, resolver.clone(), Arc::clone(&tls))).collect();
        Self { guard: settings.guard, agents, closed: AtomicBool::new(false) }
    }

    fn attempt(&self, request: &Request, stopwatch: Stopwatch) -> Result<Response, Failure> {
        let url = self.guard.parse(&request.url).map_err(|blocked| failure::blocked(&blocked))?;
        let agent = self.agent_for(&url);
        let remaining = || request.timeout.saturating_sub(stopwatch.elapsed());

        Reached::nothing();
        let mut result = call(agent, &url, request, remaining(), MAX_IDLE_AGE);
        if matches!(result, Err(::ureq::Error::Io(_))) && Reached::was_a_dead_idle_connection() && !self.is_closed() {
            result = call(agent, &url, request, remaining(), Duration::ZERO);
        }
        match result {
            Ok(response) => Ok(answer::read(response)),
            Err(::ureq::Error::Io(_)) if self.is_closed() => Err(failure::interrupted()),
            Err(error) => Err(failure::of(&error, Reached::stage())),
        }
    }

    /// By a hash that is the same in every run, so that a measurement can be repeated.
    fn agent_for(&self, url: &Url) -> &Agent {
        let mut hasher = DefaultHasher::new();
        url.authority().hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % AGENTS as u64).unwrap_or(0);
        &self.agents[shard]
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

impl Transport for UreqTransport {
    fn send(&self, request: &Request) -> Outcome {
        let stopwatch = Stopwatch::start();
        // ureq and its parser assert things about what a peer sends: a worker must survive one that is wrong.
        let result = catch_unwind(AssertUnwindSafe(|| self.attempt(request, stopwatch))).unwrap_or_else(|_| {
            Err(Failure { kind: FailureKind::Internal, detail: "the HTTP client panicked".into() })
        });
        Outcome { duration_ms: u32::try_from(stopwatch.elapsed().as_millis()).unwrap_or(u32::MAX), result }
    }

    /// Closes every connection, also those in use. A name's look-up or a TCP connection being opened is not
    /// interrupted, and ends by its own five seconds.
    fn shutdown(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for agent in &self.agents {
            agent.clone().shutdown();
        }
    }
}

impl fmt::Debug for UreqTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UreqTransport").field("guard", &self.guard).finish_non_exhaustive()
    }
}

fn agent(config: Config, proxied: bool, resolver: GuardedResolver, tls: Arc<RustlsConnector>) -> Agent {
    let first = if proxied { Stage::Tunnelling } else { Stage::Connecting };
    let connector =
        ().chain(Mark(first))
            .chain(TcpConnector::default())
            .chain(Tunnel { proxied })
            .chain(Mark(Stage::Securing))
            .chain(SharedTls(tls))
            .chain(Watch);
    Agent::with_parts(config, connector, resolver)
}

fn config(roots: &Roots) -> Config {
    let tls = TlsConfig::builder().provider(TlsProvider::Rustls).root_certs(roots.for_ureq()).build();
    Agent::config_builder()
        .proxy(None)
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("hookledger/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_response_header_size(MAX_HEAD_BYTES)
        .input_buffer_size(INPUT_BUFFER_BYTES)
        .output_buffer_size(OUTPUT_BUFFER_BYTES)
        .max_idle_connections(MAX_IDLE)
        .max_idle_connections_per_host(MAX_IDLE_PER_HOST)
        .max_idle_age(MAX_IDLE_AGE)
        .build()
}

/// One exchange, up to the end of the response's head. With a `max_idle_age` of zero, on a new connection.
fn call(
    agent: &Agent,
    url: &Url,
    request: &Request,
    timeout: Duration,
    max_idle_age: Duration,
) -> Result<http::Response<Body>, ::ureq::Error> {
    let mut builder = agent.post(url.as_str()).header("content-type", "application/json");
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    for (name, value) in request.custom.iter() {
        builder = builder.header(name, hidden(value)?);
    }
    builder.config().timeout_global(Some(timeout)).max_idle_age(max_idle_age).build().send(&request.body[..])
}

/// A value that nothing prints, should the client's own log be on.
fn hidden(value: &str) -> Result<HeaderValue, ::ureq::Error> {
    let mut value = HeaderValue::from_str(value).map_err(|error| ::ureq::Error::Http(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
