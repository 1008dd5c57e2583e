//! Whether a destination is this server itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether what is sent to `address` arrives at a server that listens on `own`.
///
/// A server on an unspecified address (`0.0.0.0`, `[::]`) is reached at every address of this machine. An address
/// that a router in front translates to this machine is beyond what can be seen from here.
pub(super) fn leads_here(address: SocketAddr, own: SocketAddr) -> bool {
    if address.port() != own.port() {
        return false;
    }
    let dialled = match address.ip().to_canonical() {
        // Systems that take an unspecified address for a destination mean this machine by it.
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    let own = own.ip().to_canonical();
    if own.is_unspecified() { is_local(dialled) } else { own == dialled }
}

/// Whether an address is one of this machine's. The system is asked anew each time, since addresses come and go: only
/// a local address can be bound to, and binding a datagram socket sends nothing.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads_here(address: &str, own: &str) -> bool {
        super::leads_here(address.parse().unwrap(), own.parse().unwrap())
    }

    #[test]
    fn a_specific_address_is_itself_alone() {
        assert!(leads_here("192.0.2.1:443", "192.0.2.1:443"));
        assert!(leads_here("[::ffff:192.0.2.1]:443", "192.0.2.1:443"));
        assert!(leads_here("0.0.0.0:443", "127.0.0.1:443"));
        assert!(leads_here("[::]:443", "[::1]:443"));
        assert!(!leads_here("192.0.2.1:8443", "192.0.2.1:443"));
        assert!(!leads_here("192.0.2.2:443", "192.0.2.1:443"));
        assert!(!leads_here("127.0.0.1:443", "192.0.2.1:443"));
    }

    #[test]
    fn an_unspecified_address_is_every_local_one() {
        // The address that this machine would send from, if it has a network: connecting a datagram socket sends nothing.
        let outward = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        for own in ["0.0.0.0:443", "[::]:443", "[::ffff:0.0.0.0]:443"] {
            for local in
                ["127.0.0.1:443", "127.9.9.9:443", "[::1]:443", "0.0.0.0:443", "[::]:443", "[::ffff:127.0.0.1]:443"]
            {
                assert!(leads_here(local, own), "{local} leads to {own}");
            }
            if let Ok(outward) = outward {
                assert!(leads_here(&format!("{}:443", outward.ip()), own), "{outward}");
            }
            for elsewhere in ["127.0.0.1:8443", "192.0.2.1:443", "[2001:db8::1]:443"] {
                assert!(!leads_here(elsewhere, own), "{elsewhere} does not lead to {own}");
            }
        }
    }
}
