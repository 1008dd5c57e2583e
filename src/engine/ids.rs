//! Ids for deliveries: unguessable, unique over restarts, and a function of what the shell drew.

use sha2::{Digest, Sha256};

use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;

/// 48 bits of time in milliseconds, then 80 bits of a hash over the entropy of this opening and a counter.
pub(super) struct DeliveryIds {
    entropy: [u8; 32],
    made: u64,
}

impl DeliveryIds {
    pub(super) const fn new(entropy: [u8; 32]) -> Self {
        Self { entropy, made: 0 }
    }

    pub(super) fn next(&mut self, now: Timestamp) -> DeliveryId {
        self.made += 1;
        let hash = derive(self.entropy, &self.made.to_be_bytes());
        let low = hash.iter().take(10).fold(0_u128, |low, &byte| low << 8 | u128::from(byte));
        let millis = u128::from(now.as_millis().max(0).unsigned_abs()) & ((1 << 48) - 1);
        DeliveryId(millis << 80 | low)
    }
}

/// 32 bytes for one purpose, from which those for another can't be told.
pub(super) fn derive(entropy: [u8; 32], purpose: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(entropy).chain_update(purpose).finalize().into()
}
