//! The keys that open the API: of each only its hash is kept.
//!
//! A key is drawn by the operator and long, so a plain SHA-256 is enough: there is nothing to guess that salt or
//! stretching would protect. Hashes are compared in constant time, and all of them, so that the time an answer takes tells
//! neither how much of a key was right nor which one it was.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What a key begins with that is given as its hash.
const HASHED_PREFIX: &str = "sha256:";

/// A shorter key works, and is warned of: 24 characters of base64 hold 144 bits, of hexadecimal 96.
const GOOD_CHARS: usize = 24;

/// A set of API keys. A clone is cheap. Its `Debug` shows nothing of them, not even how many there are.
#[derive(Clone, Default)]
pub struct Keys {
    hashes: Arc<[[u8; 32]]>,
    short: usize,
}

impl Keys {
    /// Takes keys, each as itself or as `sha256:` and the hash in hexadecimal. Several are valid at once, so that clients
    /// can change from one to the next.
    ///
    /// # Errors
    /// Says which of them can't be one, and why.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, InvalidKey> {
        let mut hashes = Vec::new();
        let mut short = 0;
        for (at, text) in texts.into_iter().enumerate() {
            let text = text.as_ref();
            let refused = |why| InvalidKey { number: at + 1, why };
            if let Some(digits) = text.strip_prefix(HASHED_PREFIX) {
                hashes.push(hash_from(digits).ok_or(refused(Why::NoHash))?);
                continue;
            }
            check(text).map_err(refused)?;
            short += usize::from(text.len() < GOOD_CHARS);
            hashes.push(Sha256::digest(text).into());
        }
        Ok(Self { hashes: hashes.into(), short })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// How many of them are so short that they might be guessed. Of one given as its hash that can't be known.
    #[must_use]
    pub const fn short(&self) -> usize {
        self.short
    }

    /// Whether `presented` is one of them.
    #[must_use]
    pub fn admit(&self, presented: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(presented).into();
        self.hashes.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash)).into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// What can stand behind `Bearer` (RFC 6750, section 2.1: b64token).
fn check(text: &str) -> Result<(), Why> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    let body = text.trim_end_matches('=');
    match text {
        "" => Err(Why::Empty),
        _ if !body.is_empty() && body.bytes().all(token) => Ok(()),
        _ => Err(Why::Characters),
    }
}

fn hash_from(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(hash)
}

/// Why a text can't be an API key. The message does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    /// Which one, from 1.
    number: usize,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Empty,
    Characters,
    NoHash,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Empty => "is empty",
            Why::Characters => "has other characters than A-Z a-z 0-9 - . _ ~ + / and, at its end, =",
            Why::NoHash => "begins with sha256:, but 64 hexadecimal digits don't follow",
        };
        write!(f, "key {} {why}", self.number)
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn each_of_several_keys_is_admitted_and_nothing_else() {
        let keys = Keys::new(["first-key", "second.key==", &ABC.to_uppercase().replace("SHA", "sha")]).unwrap();
        for key in ["first-key", "second.key==", "abc"] {
            assert!(keys.admit(key.as_bytes()), "{key}");
        }
        for key in ["", "first-ke", "first-key ", "FIRST-KEY", "second.key", "third", ABC, "ab", "Keys(…)"] {
            assert!(!keys.admit(key.as_bytes()), "{key}");
        }
        assert!(!Keys::default().admit(b""), "no key admits nobody");
    }

    #[test]
    fn what_no_client_could_present_is_refused() {
        let why = |text: &str| Keys::new(["fine", text]).unwrap_err().to_string();
        assert_eq!(why(""), "key 2 is empty");
        for text in [" ", "a b", "a,b", "=", "a=b", "schl\u{fc}ssel", "a\n", "********", "SHA256:00"] {
            assert!(why(text).starts_with("key 2 has other characters"), "{text}");
        }
        let (short, no_digit) = (&ABC[..70], ABC.replace('b', "x"));
        for text in ["sha256:", short, &format!("{ABC}0"), &no_digit, &format!("sha256:{}", "\u{e4}".repeat(32))] {
            assert!(why(text).contains("64 hexadecimal digits"), "{text}");
        }
    }

    #[test]
    fn short_keys_are_counted_and_nothing_is_shown() {
        let keys = Keys::new(["x".repeat(23), "x".repeat(24), ABC.into()]).unwrap();
        assert_eq!((keys.short(), keys.len(), keys.is_empty()), (1, 3, false));
        assert_eq!(format!("{keys:?}"), "Keys(…)");
    }
}
