//! Networks, as operators write them: an address and the length of its prefix (CIDR, RFC 4632).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 network: `10.0.0.0/8`, `fd00::/8`.
///
/// It is read strictly, because a range that means something else than its author thought opens the wrong door: the
/// prefix is there, and nothing is set beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// For the ranges that are known when this is compiled.
    pub(super) const fn v4(octets: [u8; 4], prefix: u8) -> Self {
        let [a, b, c, d] = octets;
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// As [`Network::v4`], by the first two groups.
    pub(super) const fn v6(first: u16, second: u16, prefix: u8) -> Self {
        Self { address: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)), prefix }
    }

    /// Whether an address lies in it. IPv4 written as IPv6 (`::ffff:0:0/96`) is the IPv4 that it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(v4)) => {
                (network.to_bits() ^ v4.to_bits()).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(v6)) => {
                (network.to_bits() ^ v6.to_bits()).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Its first address, by the prefix alone.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & !host).into()
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & !host).into()
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let because = |reason: String| InvalidNetwork { text: text.to_owned(), reason };
        let (address, prefix) = text.split_once('/').ok_or_else(|| because(no_prefix(text)))?;
        let address: IpAddr =
            address.parse().map_err(|_| because("what stands before the / is neither IPv4 nor IPv6".into()))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = plain_number(prefix)
            .filter(|prefix| *prefix <= longest)
            .ok_or_else(|| because(format!("the prefix is not a number from 0 to {longest}")))?;
        let network = Self { address, prefix };
        if network.first() != address {
            let meant = Self { address: network.first(), prefix };
            return Err(because(format!("bits are set beyond its prefix; the network is {meant}")));
        }
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(because("IPv4 within IPv6 is judged as IPv4; write it as that".into()));
        }
        Ok(network)
    }
}

fn no_prefix(text: &str) -> String {
    match text.parse() {
        Ok(IpAddr::V4(_)) => format!("the prefix is missing; one address alone is {text}/32"),
        Ok(IpAddr::V6(_)) => format!("the prefix is missing; one address alone is {text}/128"),
        Err(_) => "it is not an address and a prefix, like 10.0.0.0/8 or fd00::/8".into(),
    }
}

/// Digits alone, without leading zeros, so that one number has one spelling.
pub(super) fn plain_number<N: FromStr>(text: &str) -> Option<N> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork {
    text: String,
    reason: String,
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no network: {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn contains_from_its_first_to_its_last_address_of_its_own_family() {
        for (text, within, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], ["9.255.255.255", "11.0.0.0", "::a00:1"]),
            ("192.0.2.7/32", ["192.0.2.7", "192.0.2.7", "::ffff:c000:207"], ["192.0.2.6", "192.0.2.8", "::1"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255", "::ffff:0.0.0.0"], ["::", "::1", "fe80::1"]),
            ("fd00::/8", ["fd00::", "fdff:ffff::1", "fd12::"], ["fc00::", "fe00::", "253.0.0.1"]),
            ("::1/128", ["::1", "::1", "::1"], ["::", "::2", "127.0.0.1"]),
            ("::/0", ["::", "ffff::", "2001:db8::1"], ["10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0"]),
        ] {
            assert_eq!(network(text).to_string(), text);
            for address in within {
                assert!(network(text).contains(address.parse().unwrap()), "{address} is in {text}");
            }
            for address in outside {
                assert!(!network(text).contains(address.parse().unwrap()), "{address} is not in {text}");
            }
        }
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (text, reason) in [
            ("10.0.0.1/8", "bits are set beyond its prefix; the network is 10.0.0.0/8"),
            ("fd00::1/64", "bits are set beyond its prefix; the network is fd00::/64"),
            ("10.0.0.1", "the prefix is missing; one address alone is 10.0.0.1/32"),
            ("::1", "the prefix is missing; one address alone is ::1/128"),
            ("10.0.0.0/33", "the prefix is not a number from 0 to 32"),
            ("fd00::/129", "the prefix is not a number from 0 to 128"),
            ("10.0.0.0/", "the prefix is not a number from 0 to 32"),
            ("10.0.0.0/08", "the prefix is not a number from 0 to 32"),
            ("10.0.0.0/+8", "the prefix is not a number from 0 to 32"),
            ("10.0.0.0/8/8", "the prefix is not a number from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "the prefix is not a number from 0 to 32"),
            ("10.0/8", "what stands before the / is neither IPv4 nor IPv6"),
            ("010.0.0.0/8", "what stands before the / is neither IPv4 nor IPv6"),
            (" 10.0.0.0/8", "what stands before the / is neither IPv4 nor IPv6"),
            ("[fd00::]/8", "what stands before the / is neither IPv4 nor IPv6"),
            ("internal", "it is not an address and a prefix, like 10.0.0.0/8 or fd00::/8"),
            ("", "it is not an address and a prefix, like 10.0.0.0/8 or fd00::/8"),
            ("::ffff:10.0.0.0/104", "IPv4 within IPv6 is judged as IPv4; write it as that"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), format!("{text:?} is no network: {reason}"));
        }
    }

    proptest! {
        /// Bit by bit, which is slow and plain.
        #[test]
        fn contains_agrees_with_comparing_bits(bits: u32, prefix in 0..=32_u8, other: u32, shared in 0..=32_u32) {
            let keep = |bits: u32, n: u32| bits & !u32::MAX.checked_shr(n).unwrap_or(0);
            let first = keep(bits, prefix.into());
            let address = keep(first, shared) | (other & u32::MAX.checked_shr(shared).unwrap_or(0));
            let equal = (0..prefix).all(|n| (first >> (31 - n)) & 1 == (address >> (31 - n)) & 1);
            let network = Network { address: Ipv4Addr::from_bits(first).into(), prefix };
            prop_assert_eq!(network.contains(Ipv4Addr::from_bits(address).into()), equal);
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }
    }
}
