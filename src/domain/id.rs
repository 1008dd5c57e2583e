//! Identifiers. They are made in the shell, or from a position of the log; nothing here is random.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A position in the log. The first event has position 1; positions have no gaps. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job's identifier: `[A-Za-z0-9_-]{1,64}`, given by the client or made by the shell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(Arc<str>);

/// What is wrong with an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId(&'static str);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidId {}

impl JobId {
    /// Takes `[A-Za-z0-9_-]{1,64}`.
    ///
    /// # Errors
    /// When `id` is anything else.
    pub fn new(id: &str) -> Result<Self, InvalidId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidId("a batch id is 1 to 64 characters out of A-Z, a-z, 0-9, '_' and '-'"))
        }
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// A delivery's identifier, the receiver's idempotency key: `msg_` and 26 characters of Crockford's base 32.
///
/// The upper 48 bits are the time of its making, so that newer ones sort after older ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId(pub u128);

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("msg_")?;
        (0..26).rev().try_for_each(|place| {
            let digit = (self.0 >> (place * 5)) & 31;
            fmt::Write::write_char(f, char::from(BASE32[digit as usize]))
        })
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("a delivery id is 'msg_' and 26 characters, as in the webhook-id header");
        let digits = text.strip_prefix("msg_").filter(|digits| digits.len() == 26).ok_or(invalid)?;
        digits.bytes().try_fold(Self(0), |id, byte| {
            let digit = BASE32.iter().position(|&known| known == byte).ok_or(invalid)?;
            let shifted = id.0.checked_mul(32).ok_or(invalid)?;
            Ok(Self(shifted | digit as u128))
        })
    }
}

/// A dead letter's number: 1, 2, 3, … in the order in which deliveries were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetterId(pub u64);

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a secret that is kept elsewhere; tells nothing about it. The same secret has the same id in one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretId(pub u128);

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret:{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_checked() {
        assert!(JobId::new("batch_1-Z").is_ok());
        assert!(JobId::new(&"a".repeat(64)).is_ok());
        for bad in ["", "a b", "ä", "a.b", &"a".repeat(65)] {
            assert!(JobId::new(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_delivery_id_reads_back(id: u128, other: u128) {
            let text = DeliveryId(id).to_string();
            assert_eq!(text.parse(), Ok(DeliveryId(id)));
            assert!(!text.contains('.'), "the signed content is divided by points");
            assert_eq!(id < other, text < DeliveryId(other).to_string());
        }
    }

    #[test]
    fn a_delivery_id_that_overflows_or_is_foreign_is_refused() {
        for bad in [
            "msg_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "msg_1",
            "evt_00000000000000000000000000",
            "msg_u0000000000000000000000000",
        ] {
            assert!(bad.parse::<DeliveryId>().is_err(), "{bad}");
        }
    }
}
