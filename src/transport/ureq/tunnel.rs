//! A tunnel through an egress proxy, on a connection that leads to the proxy.
//!
//! ureq has a connector for this, and it is not used: it gives every read of the proxy's answer the whole time anew, and
//! would need ureq's own proxy setting, with which the resolver is asked for the proxy and for the target alike.

use std::io::{self, Read, Write};

use ::ureq::Error;
use ::ureq::http::Uri;
use ::ureq::unversioned::transport::time::{Duration, Instant};
use ::ureq::unversioned::transport::{ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter};

/// The longest head of the proxy's answer.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Asks for a tunnel to the destination, where there is a proxy; passes the connection on where there is none.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) proxied: bool,
}

impl<In: Transport> Connector<In> for Tunnel {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        match chained {
            Some(connection) if self.proxied => open(details, connection).map(|tunnel| Some(Either::B(tunnel))),
            other => Ok(other.map(Either::A)),
        }
    }
}

fn open<In: Transport>(details: &ConnectionDetails, connection: In) -> Result<Box<dyn Transport>, Error> {
    let target = authority(details.uri);
    let mut proxy = TransportAdapter::new(connection.boxed(), details.current_time.clone());
    proxy.set_timeout(remaining(details));
    let agent = concat!("hookledger/", env!("CARGO_PKG_VERSION"));
    proxy
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n\r\n").as_bytes())?;
    let head = read_head(&mut proxy)?;
    match status(&head) {
        Some(200..=299) => Ok(proxy.into_inner()),
        Some(status) => Err(Error::ConnectProxyFailed(format!("the egress proxy answered {status}"))),
        None => Err(Error::ConnectProxyFailed("the egress proxy's answer is not HTTP".into())),
    }
}

/// Host and port, the port always.
fn authority(uri: &Uri) -> String {
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default_port))
}

/// What is left of the time for opening a connection.
fn remaining(details: &ConnectionDetails) -> NextTimeout {
    let spent = match ((details.current_time)(), details.now) {
        (Instant::Exact(now), Instant::Exact(start)) => now.saturating_duration_since(start),
        _ => std::time::Duration::ZERO,
    };
    let after = match details.timeout.after {
        Duration::Exact(whole) => Duration::Exact(whole.saturating_sub(spent)),
        Duration::NotHappening => Duration::NotHappening,
    };
    NextTimeout { after, ..details.timeout }
}

/// Byte by byte, out of the connection's buffer, so that nothing of what follows the head is taken.
fn read_head(proxy: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(io::Error::other("the answer's head is too long"));
        }
        proxy.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = str::from_utf8(head).ok()?.lines().next()?;
    let code = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    code.parse().ok().filter(|_| code.len() == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_named_with_its_port() {
        for (uri, expected) in [
            ("https://example.com/hook?key=hidden", "example.com:443"),
            ("http://example.com/", "example.com:80"),
            ("https://[2606:2800::1]:8443/", "[2606:2800::1]:8443"),
        ] {
            assert_eq!(authority(&Uri::from_static(uri)), expected);
        }
    }

    #[test]
    fn an_answer_has_a_status_of_three_digits() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for head in [&b"SSH-2.0\r\n\r\n"[..], b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"\xff\r\n\r\n", b""] {
            assert_eq!(status(head), None, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_head_is_read_to_its_end_and_no_further() {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nmore"[..];
        assert!(read_head(&mut bytes).is_ok());
        assert_eq!(bytes, b"more");
        assert!(read_head(&mut &b"HTTP/1.1 200 OK\r\n"[..]).is_err());
        assert!(read_head(&mut io::repeat(b'x')).is_err());
    }
}
