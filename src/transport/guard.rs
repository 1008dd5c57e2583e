//! The address guard: which URLs and which addresses requests may go to.
//!
//! Whoever registers a webhook chooses where this server sends requests, so it must not become a way into the network
//! that it stands in. Names prove nothing: the check that counts is on the address about to be dialled (see
//! [`super::resolver`]); the one on the URL only fails earlier. All of it is pure.
//!
//! The ranges follow IANA's special-purpose registries (RFC 6890 and its updates), read as: what is not plainly
//! public is denied.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// The longest URL, in bytes.
pub const URL_BYTES: usize = 2048;

/// The ports that may be asked for.
const PORTS: [u16; 4] = [443, 80, 8080, 8443];

/// Denied in IPv4: network, prefix length, what it is.
const DENIED_V4: [(Ipv4Addr, u32, &str); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared with a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's metadata service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "for 6to4 relays"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// In IPv6 only global unicast is allowed ...
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// ... less these.
const DENIED_V6: [(Ipv6Addr, u32, &str); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "for protocol assignments"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "for 6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

/// What may be sent to. The default is the strict form: public addresses, `https`, the usual ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Allow every address and every port, for trying things out and for tests: the `--dev` switch.
    pub allow_private: bool,
    /// Allow `http` besides `https`.
    pub allow_http: bool,
    /// The server's own address: never a destination, even where its range is allowed.
    pub own_address: Option<SocketAddr>,
}

impl Guard {
    /// Allows everything: `--dev`.
    #[must_use]
    pub fn dev() -> Self {
        Self { allow_private: true, allow_http: true, own_address: None }
    }

    /// Parses a destination and checks it.
    ///
    /// # Errors
    ///
    /// When it is no absolute URL, or as for [`Guard::check_url`].
    pub fn parse(&self, text: &str) -> Result<Url, Blocked> {
        if text.len() > URL_BYTES {
            return Err(Blocked::because("the URL is longer than 2048 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Blocked::because("the URL contains a control character"));
        }
        let url = Url::parse(text).map_err(|error| Blocked::because(format!("the URL is malformed: {error}")))?;
        self.check_url(&url)?;
        Ok(url)
    }

    /// Checks all of a URL that can be judged without looking its name up.
    ///
    /// # Errors
    ///
    /// When its scheme or port is not allowed, it has user info or a fragment, is longer than 2,048 bytes, or its
    /// host is an address that [`Guard::check_ip`] refuses.
    pub fn check_url(&self, url: &Url) -> Result<(), Blocked> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(Blocked::because("http is not allowed, only https")),
            _ => return Err(Blocked::because("the URL's scheme is neither http nor https")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked::because("the URL contains a user name or password"));
        }
        if url.fragment().is_some() {
            return Err(Blocked::because("the URL has a fragment"));
        }
        if url.as_str().len() > URL_BYTES {
            return Err(Blocked::because("the URL is longer than 2048 bytes"));
        }
        self.check_port(url.port_or_known_default())?;
        self.check_host(url.host().as_ref())
    }

    /// Checks the address that is about to be dialled.
    ///
    /// # Errors
    ///
    /// When it is the server's own, or as for [`Guard::check_ip`].
    pub fn check_address(&self, address: SocketAddr) -> Result<(), Blocked> {
        let own = self
            .own_address
            .is_some_and(|own| own.port() == address.port() && own.ip().to_canonical() == address.ip().to_canonical());
        if own && !self.allow_private {
            return Err(Blocked::because("the destination is this server itself"));
        }
        self.check_ip(address.ip())
    }

    /// Checks an address. IPv4 written as IPv6 (`::ffff:0:0/96`) is judged as the IPv4 that it is.
    ///
    /// # Errors
    ///
    /// When it is not plainly public; the error names the range.
    pub fn check_ip(&self, address: IpAddr) -> Result<(), Blocked> {
        if self.allow_private {
            return Ok(());
        }
        match address.to_canonical() {
            IpAddr::V4(v4) => check_v4(v4),
            IpAddr::V6(v6) => check_v6(v6),
        }
    }

    fn check_port(&self, port: Option<u16>) -> Result<(), Blocked> {
        match port {
            Some(1..) if self.allow_private => Ok(()),
            Some(port) if PORTS.contains(&port) => Ok(()),
            Some(port) => Err(Blocked::because(format!("port {port} is not one of 443, 80, 8080, 8443"))),
            None => Err(Blocked::because("the URL has no port")),
        }
    }

    fn check_host(&self, host: Option<&Host<&str>>) -> Result<(), Blocked> {
        match host {
            Some(Host::Ipv4(v4)) => self.check_ip((*v4).into()),
            Some(Host::Ipv6(v6)) => self.check_ip((*v6).into()),
            // RFC 6761, section 6.3: always loopback, whatever a resolver says.
            Some(Host::Domain(name)) if !self.allow_private && is_localhost(name) => {
                Err(Blocked::because("localhost is loopback"))
            }
            Some(Host::Domain(_)) => Ok(()),
            None => Err(Blocked::because("the URL has no host")),
        }
    }
}

/// `url` has lower-cased the name already.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn check_v4(address: Ipv4Addr) -> Result<(), Blocked> {
    let within = |network: Ipv4Addr, prefix: u32| (address.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0;
    match DENIED_V4.iter().find(|(network, prefix, _)| within(*network, *prefix)) {
        Some((network, prefix, what)) => Err(Blocked::because(format!("{network}/{prefix} is {what}"))),
        None => Ok(()),
    }
}

fn check_v6(address: Ipv6Addr) -> Result<(), Blocked> {
    let within = |network: Ipv6Addr, prefix: u32| (address.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0;
    if !within(GLOBAL_V6.0, GLOBAL_V6.1) {
        return Err(Blocked::because("the IPv6 address is outside 2000::/3, so not public"));
    }
    match DENIED_V6.iter().find(|(network, prefix, _)| within(*network, *prefix)) {
        Some((network, prefix, what)) => Err(Blocked::because(format!("{network}/{prefix} is {what}"))),
        None => Ok(()),
    }
}

/// Why a destination is refused, in words: the rule, not the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    reason: String,
}

impl Blocked {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// The reason, for a person.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Blocked {}

#[cfg(test)]
mod tests;
