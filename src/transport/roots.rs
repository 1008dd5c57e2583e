//! Who may vouch for a receiver's certificate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ::ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// The authorities that are trusted. There is none that trusts everything.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// Those of the platform, by its own verifier where it has one (macOS, Windows).
    #[default]
    Platform,
    /// These alone: for receivers that all stand in one's own network.
    Only(Certificates),
    /// These besides the platform's. The platform's are read once, when the transport is set up, and verification is
    /// then the same on every platform.
    PlatformAnd(Certificates),
}

impl Roots {
    /// As ureq takes them.
    pub(crate) fn for_ureq(&self) -> RootCerts {
        match self {
            Self::Platform => RootCerts::PlatformVerifier,
            Self::Only(given) => RootCerts::Specific(Arc::new(given.0.clone())),
            Self::PlatformAnd(given) => {
                let mut all = platform();
                all.extend(given.0.iter().cloned());
                RootCerts::Specific(Arc::new(all))
            }
        }
    }
}

/// What the platform can't give is told and left out, as its own verifier does.
fn platform() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "root certificates of the platform could not be read");
    }
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// Certificates of authorities, at least one. Read from the text of a PEM file (RFC 7468).
#[derive(Clone, Debug)]
pub struct Certificates(Vec<Certificate<'static>>);

impl Certificates {
    /// How many.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromStr for Certificates {
    type Err = InvalidCertificates;

    fn from_str(pem: &str) -> Result<Self, InvalidCertificates> {
        let mut certificates = Vec::new();
        for item in parse_pem(pem.as_bytes()) {
            match item.map_err(|_| InvalidCertificates::NotPem)? {
                PemItem::Certificate(certificate) => certificates.push(certificate),
                PemItem::PrivateKey(_) => return Err(InvalidCertificates::PrivateKey),
                _ => {}
            }
        }
        for (index, certificate) in certificates.iter().enumerate() {
            // ureq would leave out what it can't use, without a word.
            webpki::anchor_from_trusted_cert(&certificate.der().into())
                .map_err(|_| InvalidCertificates::NotACertificate(index + 1))?;
        }
        if certificates.is_empty() { Err(InvalidCertificates::None) } else { Ok(Self(certificates)) }
    }
}

/// Why a text holds no [`Certificates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCertificates {
    /// It is not PEM.
    NotPem,
    /// There is no certificate in it.
    None,
    /// This one, counted from 1, is not a certificate inside.
    NotACertificate(usize),
    /// A private key is in it: it has no place where it is not used.
    PrivateKey,
}

impl fmt::Display for InvalidCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPem => f.write_str("the certificates are not PEM (-----BEGIN CERTIFICATE-----)"),
            Self::None => f.write_str("there is no certificate (-----BEGIN CERTIFICATE-----) in it"),
            Self::NotACertificate(number) => write!(f, "certificate {number} in it is no X.509 certificate"),
            Self::PrivateKey => f.write_str("a private key is in it; give the certificates alone"),
        }
    }
}

impl std::error::Error for InvalidCertificates {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The certificate of an authority made for tests; its key was thrown away.
    const AUTHORITY: &str = include_str!("roots/authority.pem");

    #[test]
    fn certificates_are_read_from_pem() {
        let twice = format!("an authority\n{AUTHORITY}\nand again\n{AUTHORITY}");
        assert_eq!(twice.parse::<Certificates>().unwrap().len(), 2);
    }

    #[test]
    fn what_holds_no_certificate_says_why() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, expected) in [
            ("", InvalidCertificates::None),
            ("nothing of the kind", InvalidCertificates::None),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", InvalidCertificates::NotPem),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", InvalidCertificates::NotPem),
            (&format!("{AUTHORITY}{hollow}"), InvalidCertificates::NotACertificate(2)),
            (&format!("{AUTHORITY}{key}"), InvalidCertificates::PrivateKey),
        ] {
            assert_eq!(pem.parse::<Certificates>().err(), Some(expected), "{pem}");
        }
        assert!(InvalidCertificates::NotACertificate(2).to_string().starts_with("certificate 2 "));
    }

    #[test]
    fn given_roots_stand_alone_or_beside_the_platforms() {
        let given: Certificates = AUTHORITY.parse().unwrap();
        let count = |roots: &Roots| match roots.for_ureq() {
            RootCerts::Specific(certificates) => Some(certificates.len()),
            _ => None,
        };
        assert_eq!(count(&Roots::default()), None);
        assert_eq!(count(&Roots::Only(given.clone())), Some(1));
        assert_eq!(count(&Roots::PlatformAnd(given)), Some(platform().len() + 1));
    }
}
