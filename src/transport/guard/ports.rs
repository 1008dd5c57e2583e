//! The ports that may be asked for.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::network::plain_number;

/// Ports, as operators write them: `443,8443,9000-9099`, or `any`. The default: 443, 80, 8080 and 8443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Every port but 0, which no one can listen on.
    #[must_use]
    pub fn any() -> Self {
        Self(vec![1..=u16::MAX])
    }

    /// Whether this port is one of them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self([443, 80, 8080, 8443].map(|port| port..=port).to_vec())
    }
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self(vec![port..=port])
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Ports {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        if text == "any" {
            return Ok(Self::any());
        }
        text.split(',').map(|part| range(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn range(part: &str) -> Result<RangeInclusive<u16>, InvalidPorts> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let number = |text: &str| plain_number::<u16>(text.trim()).filter(|port| *port > 0);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(InvalidPorts { part: part.to_owned() }),
    }
}

/// Why a text names no [`Ports`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPorts {
    part: String,
}

impl fmt::Display for InvalidPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no port: write ports from 1 to 65535 like 443,8443,9000-9099, or any", self.part)
    }
}

impl std::error::Error for InvalidPorts {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_and_ranges() {
        let ports: Ports = "443, 9000-9099,1-1".parse().unwrap();
        assert_eq!(ports.to_string(), "443, 9000-9099, 1");
        assert_eq!(ports.to_string().parse(), Ok(ports.clone()));
        for (port, within) in
            [(443, true), (9000, true), (9099, true), (9100, false), (1, true), (80, false), (0, false)]
        {
            assert_eq!(ports.contains(port), within, "{port}");
        }
        assert_eq!("any".parse(), Ok(Ports::any()));
        assert!(Ports::any().contains(65535) && !Ports::any().contains(0));
        assert_eq!(Ports::default().to_string(), "443, 80, 8080, 8443");
        assert!(Ports::from(25).contains(25));
    }

    #[test]
    fn what_is_no_port_says_so() {
        for (text, part) in [
            ("", ""),
            ("443,", ""),
            ("0", "0"),
            ("443,65536", "65536"),
            ("9099-9000", "9099-9000"),
            ("1-", "1-"),
            ("0-80", "0-80"),
            ("https", "https"),
            ("0443", "0443"),
            ("+443", "+443"),
            ("443 8443", "443 8443"),
            ("Any", "Any"),
        ] {
            assert_eq!(text.parse::<Ports>(), Err(InvalidPorts { part: part.into() }), "{text:?}");
        }
        let message = "x".parse::<Ports>().unwrap_err().to_string();
        assert_eq!(message, "\"x\" is no port: write ports from 1 to 65535 like 443,8443,9000-9099, or any");
    }
}
