//! The address guard: which URLs and which addresses requests may go to.
//!
//! Whoever registers a webhook chooses where this server sends requests, so it must not become a way into the network
//! that it stands in. Names prove nothing: the check that counts is on the address about to be dialled (see
//! [`super::resolver`]); the one on the URL only fails earlier. All of it is pure, but for the question which addresses
//! are this machine's.
//!
//! The ranges follow IANA's special-purpose registries (RFC 6890 and its updates), read as: what is not plainly
//! public is denied. An operator can allow and deny more:
//!
//! ```text
//! this server itself ──▶ denied      (unless everything is allowed)
//! deny_networks      ──▶ denied
//! allow_networks     ──▶ allowed
//! allow_private      ──▶ allowed
//! the ranges below   ──▶ denied
//! anything else      ──▶ allowed
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

mod network;
mod own_address;
mod ports;

pub use network::{InvalidNetwork, Network};
pub use ports::{InvalidPorts, Ports};

/// The longest URL, in bytes.
pub const URL_BYTES: usize = 2048;

/// Denied in IPv4, and what it is.
const DENIED_V4: [(Network, &str); 16] = [
    (Network::v4([0, 0, 0, 0], 8), "this network"),
    (Network::v4([10, 0, 0, 0], 8), "private"),
    (Network::v4([100, 64, 0, 0], 10), "shared with a carrier"),
    (Network::v4([127, 0, 0, 0], 8), "loopback"),
    (Network::v4([168, 63, 129, 16], 32), "a cloud's metadata service"),
    (Network::v4([169, 254, 0, 0], 16), "link-local"),
    (Network::v4([172, 16, 0, 0], 12), "private"),
    (Network::v4([192, 0, 0, 0], 24), "for protocol assignments"),
    (Network::v4([192, 0, 2, 0], 24), "for documentation"),
    (Network::v4([192, 88, 99, 0], 24), "for 6to4 relays"),
    (Network::v4([192, 168, 0, 0], 16), "private"),
    (Network::v4([198, 18, 0, 0], 15), "for benchmarks"),
    (Network::v4([198, 51, 100, 0], 24), "for documentation"),
    (Network::v4([203, 0, 113, 0], 24), "for documentation"),
    (Network::v4([224, 0, 0, 0], 4), "multicast"),
    (Network::v4([240, 0, 0, 0], 4), "reserved"),
];

/// In IPv6 only global unicast is allowed ...
const GLOBAL_V6: Network = Network::v6(0x2000, 0, 3);

/// ... less these.
const DENIED_V6: [(Network, &str); 4] = [
    (Network::v6(0x2001, 0, 23), "for protocol assignments"),
    (Network::v6(0x2001, 0xdb8, 32), "for documentation"),
    (Network::v6(0x2002, 0, 16), "for 6to4"),
    (Network::v6(0x3fff, 0, 20), "for documentation"),
];

/// What may be sent to. The default is the strict form: public addresses, `https`, the usual ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Allow every address and every port, for trying things out and for tests: the `--dev` switch.
    pub allow_private: bool,
    /// Allow `http` besides `https`. It says nothing of addresses.
    pub allow_http: bool,
    /// Allow these networks, whatever they are, on the allowed ports.
    pub allow_networks: Vec<Network>,
    /// Deny these networks. This wins over everything that allows.
    pub deny_networks: Vec<Network>,
    /// The ports that may be asked for.
    pub ports: Ports,
    /// The server's own address: never a destination, even where its network is allowed. An unspecified one (`0.0.0.0`,
    /// `[::]`) means every address of this machine.
    pub own_address: Option<SocketAddr>,
}

impl Guard {
    /// Allows everything: `--dev`.
    #[must_use]
    pub fn dev() -> Self {
        Self { allow_private: true, allow_http: true, ..Self::default() }
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
    /// host is an address that [`Guard::check_address`] refuses.
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
        let port = self.check_port(url.port_or_known_default())?;
        self.check_host(url.host().as_ref(), port)
    }

    /// Checks the address that is about to be dialled.
    ///
    /// # Errors
    ///
    /// When it is the server's own, or as for [`Guard::check_ip`].
    pub fn check_address(&self, address: SocketAddr) -> Result<(), Blocked> {
        let own = self.own_address.is_some_and(|own| own_address::leads_here(address, own));
        if own && !self.allow_private {
            return Err(Blocked::because("the destination is this server itself"));
        }
        self.check_ip(address.ip())
    }

    /// Checks an address. IPv4 written as IPv6 (`::ffff:0:0/96`) is judged as the IPv4 that it is.
    ///
    /// # Errors
    ///
    /// When its network is denied, or it is not plainly public and its network is not allowed; the error names the
    /// range.
    pub fn check_ip(&self, address: IpAddr) -> Result<(), Blocked> {
        if let Some(network) = self.deny_networks.iter().find(|network| network.contains(address)) {
            return Err(Blocked::because(format!("{network} is denied by the configuration")));
        }
        if self.allow_private || self.allow_networks.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        check_public(address.to_canonical())
    }

    fn check_port(&self, port: Option<u16>) -> Result<u16, Blocked> {
        match port {
            Some(port @ 1..) if self.allow_private || self.ports.contains(port) => Ok(port),
            Some(port) => Err(Blocked::because(format!("port {port} is not one of {}", self.ports))),
            None => Err(Blocked::because("the URL has no port")),
        }
    }

    fn check_host(&self, host: Option<&Host<&str>>, port: u16) -> Result<(), Blocked> {
        match host {
            Some(Host::Ipv4(v4)) => self.check_address(SocketAddr::new((*v4).into(), port)),
            Some(Host::Ipv6(v6)) => self.check_address(SocketAddr::new((*v6).into(), port)),
            // RFC 6761, section 6.3: always loopback, whatever a resolver says.
            Some(Host::Domain(name)) if is_localhost(name) && !self.allows_loopback() => {
                Err(Blocked::because("localhost is loopback"))
            }
            Some(Host::Domain(_)) => Ok(()),
            None => Err(Blocked::because("the URL has no host")),
        }
    }

    /// Either form will do: the addresses that `localhost` really has are checked when it is dialled.
    fn allows_loopback(&self) -> bool {
        self.check_ip(Ipv4Addr::LOCALHOST.into()).is_ok() || self.check_ip(Ipv6Addr::LOCALHOST.into()).is_ok()
    }
}

/// `url` has lower-cased the name already.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn check_public(address: IpAddr) -> Result<(), Blocked> {
    if address.is_ipv6() && !GLOBAL_V6.contains(address) {
        return Err(Blocked::because("the IPv6 address is outside 2000::/3, so not public"));
    }
    match DENIED_V4.iter().chain(&DENIED_V6).find(|(network, _)| network.contains(address)) {
        Some((network, what)) => Err(Blocked::because(format!("{network} is {what}"))),
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
