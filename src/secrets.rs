//! Secrets (what signs, and the values of custom headers), in a place of their own beside the log. Events and rows carry an
//! id that tells nothing about the secret.
//!
//! The id is a keyed hash of the secret, under a key that each store draws for itself: the same secret has the same id in
//! one store (so that a hundred thousand jobs with one secret keep one copy, and a repeated registration is recognised),
//! and without the store's key an id can't be tested against guesses.

use std::collections::HashSet;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::id::SecretId;
use crate::log::{LogError, LogReader, RowWrite};

/// Where the store's key is kept.
const KEY_ROW: &[u8] = b"m/secrets-key";

/// Names secrets, and finds them again.
pub struct Secrets {
    key: [u8; 32],
    /// Secrets that were kept lately: the next job with one of them needs no row.
    kept: HashSet<SecretId>,
}

/// How many secrets are remembered as kept.
const KEPT: usize = 4096;

impl Secrets {
    /// Reads the store's key; a store that has none gets `fresh`, through the row change that comes with it.
    ///
    /// # Errors
    /// When the row can't be read.
    pub fn open(reader: &dyn LogReader, fresh: [u8; 32]) -> Result<(Self, Option<RowWrite>), LogError> {
        match reader.row(KEY_ROW)? {
            Some(key) => match key.try_into() {
                Ok(key) => Ok((Self { key, kept: HashSet::new() }, None)),
                Err(_) => Err(LogError::corrupt("the key that names secrets", "it is not 32 bytes")),
            },
            None => {
                let row = RowWrite { key: KEY_ROW.to_vec(), value: Some(fresh.to_vec()) };
                Ok((Self { key: fresh, kept: HashSet::new() }, Some(row)))
            }
        }
    }

    /// The secret's id in this store.
    ///
    /// # Panics
    /// Never: HMAC takes a key of any length.
    #[must_use]
    #[expect(clippy::expect_used, reason = "documented invariant")]
    pub fn id(&self, secret: &[u8]) -> SecretId {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(secret);
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        let (id, _) = hash.split_first_chunk().expect("32 bytes begin with 16");
        SecretId(u128::from_be_bytes(*id))
    }

    /// The row that keeps the secret; none when it is known to be kept already.
    #[must_use]
    pub fn keep(&mut self, secret: &[u8]) -> Option<RowWrite> {
        let id = self.id(secret);
        if self.kept.len() == KEPT {
            self.kept.clear();
        }
        let row = || RowWrite { key: row_key(id), value: Some(secret.to_vec()) };
        self.kept.insert(id).then(row)
    }

    /// Finds a secret; `None` when it was forgotten.
    ///
    /// # Errors
    /// When its row can't be read.
    pub fn find(reader: &dyn LogReader, id: SecretId) -> Result<Option<Vec<u8>>, LogError> {
        reader.row(&row_key(id))
    }
}

fn row_key(id: SecretId) -> Vec<u8> {
    [&b"s"[..], &id.0.to_be_bytes()].concat()
}
