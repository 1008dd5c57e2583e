//! The way out through a proxy.
//!
//! It is configured, never taken from the environment. With one, every connection is a tunnel that the proxy opens
//! (`CONNECT`, RFC 9110, section 9.3.6), for `http` too, and it is the proxy that looks names up. So the guard sees
//! URLs only: addresses in them are checked, names are not, and **the proxy has to refuse private addresses itself**.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// An egress proxy: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressProxy {
    host: Host<String>,
    port: u16,
}

impl EgressProxy {
    /// Its name or address, an IPv6 address in brackets.
    pub(super) fn host(&self) -> String {
        self.host.to_string()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for EgressProxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let url = Url::parse(text).map_err(|_| InvalidProxy::NotAUrl)?;
        if url.scheme() != "http" {
            return Err(InvalidProxy::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidProxy::Credentials);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidProxy::NotAUrl);
        }
        // `url` drops `:80`, as the scheme's own, so this is what was written.
        let port = url.port().or_else(|| text.trim_end_matches('/').ends_with(":80").then_some(80));
        let port = port.filter(|port| *port > 0).ok_or(InvalidProxy::Port)?;
        let host = url.host().ok_or(InvalidProxy::NotAUrl)?.to_owned();
        Ok(Self { host, port })
    }
}

/// Why a text is no [`EgressProxy`]. The messages don't repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// It is not `http://HOST:PORT`.
    NotAUrl,
    /// It is another kind of proxy.
    Scheme,
    /// It has a user name or a password.
    Credentials,
    /// It has no port.
    Port,
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAUrl => "the proxy is not written as http://HOST:PORT",
            Self::Scheme => "the proxy is not http: tunnels are asked for with CONNECT over plain HTTP",
            Self::Credentials => "the proxy has a user name or a password, which is not supported",
            Self::Port => "the proxy has no port: write http://HOST:PORT",
        })
    }
}

impl std::error::Error for InvalidProxy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_with_host_and_port() {
        for (text, written) in [
            ("http://proxy.internal:3128", "http://proxy.internal:3128"),
            ("http://Proxy.Internal:80/", "http://proxy.internal:80"),
            ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            let proxy: EgressProxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), written);
            assert_eq!(written.parse(), Ok(proxy));
        }
    }

    #[test]
    fn anything_else_says_why() {
        for (text, expected) in [
            ("", InvalidProxy::NotAUrl),
            ("proxy.internal", InvalidProxy::NotAUrl),
            ("proxy.internal:3128", InvalidProxy::Scheme),
            ("https://proxy.internal:3128", InvalidProxy::Scheme),
            ("socks5://proxy.internal:1080", InvalidProxy::Scheme),
            ("http://proxy.internal", InvalidProxy::Port),
            ("http://proxy.internal:0", InvalidProxy::Port),
            ("http://proxy.internal:99999", InvalidProxy::NotAUrl),
            ("http://user:secret@proxy.internal:3128", InvalidProxy::Credentials),
            ("http://proxy.internal:3128/path", InvalidProxy::NotAUrl),
            ("http://proxy.internal:3128/?a", InvalidProxy::NotAUrl),
            ("http://:3128", InvalidProxy::NotAUrl),
        ] {
            assert_eq!(text.parse::<EgressProxy>(), Err(expected), "{text:?}");
            assert!(!expected.to_string().contains("secret"));
        }
    }
}
