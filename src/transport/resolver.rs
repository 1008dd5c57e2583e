//! Names to addresses, and the guard's check on each: what leaves here is what is dialled.
//!
//! ureq asks this before every call, also before one on a kept-alive connection, and connects to the answer itself.
//! So there is no moment between the check and the connection in which a name could change its mind. Answers from
//! the cache are checked again like fresh ones.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::ureq::Timeout;
use ::ureq::config::Config;
use ::ureq::http::Uri;
use ::ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ::ureq::unversioned::transport::NextTimeout;
use url::Host;

use super::guard::{Blocked, Guard};
use super::proxy::EgressProxy;

mod names;

use names::{NameError, Names};

/// How long a look-up may take.
pub(super) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many addresses of one name ureq takes.
const MAX_ADDRESSES: usize = 16;

/// A resolver for ureq that answers with allowed addresses only. Clones share the cache and the look-up threads.
#[derive(Clone, Debug)]
pub struct GuardedResolver {
    guard: Arc<Guard>,
    names: Arc<Names>,
    proxy: Option<Arc<EgressProxy>>,
}

impl GuardedResolver {
    /// Resolves with the system's resolver, under this guard.
    #[must_use]
    pub fn new(guard: Guard) -> Self {
        Self::with_names(guard, Names::of_the_system())
    }

    fn with_names(guard: Guard, names: Names) -> Self {
        Self { guard: Arc::new(guard), names: Arc::new(names), proxy: None }
    }

    /// Looks names up with this function instead, which may block: a resolver of the program's own, or a test's.
    #[must_use]
    pub fn with_look_up(self, look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { names: Arc::new(Names::new(look_up)), ..self }
    }

    /// Answers every question with the addresses of this proxy. The operator has chosen it, so the guard does not
    /// judge it.
    #[must_use]
    pub fn through(self, proxy: EgressProxy) -> Self {
        Self { proxy: Some(Arc::new(proxy)), ..self }
    }

    /// The addresses of a host, in the order in which to try them, not yet checked.
    fn look_up(&self, host: &str, timeout: Duration) -> Result<Arc<[IpAddr]>, ResolveError> {
        match Host::parse(host) {
            Ok(Host::Ipv4(v4)) => Ok([v4.into()].into()),
            Ok(Host::Ipv6(v6)) => Ok([v6.into()].into()),
            Ok(Host::Domain(name)) => Ok(self.names.resolve(&name, timeout.min(RESOLVE_TIMEOUT))?),
            Err(_) => Err(ResolveError::Failed("the host name is malformed".into())),
        }
    }

    fn resolve_checked(&self, uri: &Uri, timeout: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(proxy) = &self.proxy {
            let addresses = self.look_up(&proxy.host(), timeout).map_err(ResolveError::of_the_proxy)?;
            return Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, proxy.port())).collect());
        }
        let host = uri.host().unwrap_or_default();
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let addresses = self.look_up(host, timeout)?;
        // One denied address among them, and nothing is sent: a mixed answer is an attempt to get past this.
        let checked = addresses.iter().map(|ip| {
            let address = SocketAddr::new(*ip, port);
            self.guard.check_address(address).map(|()| address).map_err(ResolveError::Blocked)
        });
        checked.collect()
    }
}

impl Resolver for GuardedResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ::ureq::Error> {
        let allowed = self.resolve_checked(uri, *timeout.after).map_err(|error| match error {
            ResolveError::TimedOut if timeout.reason == Timeout::Resolve => ::ureq::Error::Timeout(timeout.reason),
            error => ::ureq::Error::Other(Box::new(error)),
        })?;
        let mut addresses = self.empty();
        for address in allowed.into_iter().take(MAX_ADDRESSES) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Why there is no address to dial. It travels through `ureq::Error::Other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The guard refused an address.
    Blocked(Blocked),
    /// The name has no address, or the resolver failed; in words.
    Failed(String),
    /// The name was not looked up, for want of a thread; in words. It says nothing of the destination.
    NoThread(String),
    /// No answer in the time that the whole attempt has left, which is less than a look-up may take.
    TimedOut,
}

impl ResolveError {
    fn of_the_proxy(self) -> Self {
        match self {
            Self::Failed(detail) => Self::Failed(format!("the egress proxy: {detail}")),
            other => other,
        }
    }
}

impl From<NameError> for ResolveError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Failed(detail) => Self::Failed(detail),
            NameError::NoThread(detail) => Self::NoThread(detail),
            NameError::TimedOut => Self::TimedOut,
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(blocked) => blocked.fmt(f),
            Self::Failed(detail) | Self::NoThread(detail) => f.write_str(detail),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for ResolveError {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn resolver(
        guard: Guard,
        look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> GuardedResolver {
        GuardedResolver::new(guard).with_look_up(look_up)
    }

    fn resolve(resolver: &GuardedResolver, uri: &'static str) -> Result<Vec<SocketAddr>, ResolveError> {
        resolver.resolve_checked(&Uri::from_static(uri), SOON)
    }

    #[test]
    fn literal_addresses_are_not_looked_up() {
        let resolver = resolver(Guard::default(), |_| panic!("looked up"));
        let address = |text: &str| Ok(vec![text.parse().unwrap()]);
        assert_eq!(resolve(&resolver, "https://93.184.216.34/"), address("93.184.216.34:443"));
        assert_eq!(resolve(&resolver, "http://93.184.216.34:8080/"), address("93.184.216.34:8080"));
        assert_eq!(resolve(&resolver, "http://[2606:2800::1]/"), address("[2606:2800::1]:80"));
    }

    #[test]
    fn odd_spellings_of_loopback_are_blocked_here_too() {
        let resolver = resolver(Guard::default(), |_| panic!("looked up"));
        for uri in ["https://127.1/", "https://0x7f.1/", "https://2130706433/", "https://[::ffff:127.0.0.1]/"] {
            assert!(matches!(resolve(&resolver, uri), Err(ResolveError::Blocked(_))), "{uri}");
        }
    }

    #[test]
    fn one_denied_address_among_the_answers_blocks() {
        let mixed = || Ok(vec!["93.184.216.34".parse().unwrap(), "10.0.0.1".parse().unwrap()]);
        let error = resolve(&resolver(Guard::default(), move |_| mixed()), "https://a.example/").unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.0/8 is private");
        let allowed = resolve(&resolver(Guard::dev(), move |_| mixed()), "https://a.example/").unwrap();
        assert_eq!(allowed.len(), 2);
    }

    #[test]
    fn a_denied_answer_is_denied_from_the_cache_too() {
        let look_ups = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&look_ups);
        let resolver = resolver(Guard::default(), move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(vec!["169.254.169.254".parse().unwrap()])
        });
        for _ in 0..3 {
            assert!(matches!(resolve(&resolver, "https://a.example/"), Err(ResolveError::Blocked(_))));
        }
        assert_eq!(look_ups.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn with_a_proxy_every_answer_is_the_proxy() {
        let resolver = resolver(Guard::default(), |name| match name {
            "proxy.internal" => Ok(vec!["10.0.0.1".parse().unwrap()]),
            _ => panic!("looked up"),
        });
        let resolver = resolver.through("http://proxy.internal:3128".parse().unwrap());
        for uri in ["https://a.example/", "https://93.184.216.34/", "http://[2606:2800::1]:8080/"] {
            assert_eq!(resolve(&resolver, uri), Ok(vec!["10.0.0.1:3128".parse().unwrap()]), "{uri}");
        }
        let nowhere = GuardedResolver::new(Guard::default()).with_look_up(|_| Ok(vec![]));
        let nowhere = nowhere.through("http://proxy.internal:3128".parse().unwrap());
        let error = resolve(&nowhere, "https://a.example/").unwrap_err();
        assert_eq!(error.to_string(), "the egress proxy: the name has no address");
    }

    #[test]
    fn more_addresses_than_ureq_takes_are_cut() {
        let resolver = resolver(Guard::dev(), |_| Ok((0..40).map(|n| [10, 0, 0, n].into()).collect()));
        let timeout = NextTimeout::default();
        let uri = Uri::from_static("https://a.example/");
        let addresses = Resolver::resolve(&resolver, &uri, &Config::default(), timeout).unwrap();
        assert_eq!(addresses.len(), MAX_ADDRESSES);
    }
}
