//! Keys derived from one secret in the settings, a key for each purpose.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Derives keys from the secret of the settings.
pub struct Keys<'s>(&'s [u8]);

/// HMAC-SHA256.
pub(super) type Hasher = Hmac<Sha256>;

impl<'s> Keys<'s> {
    /// Wraps `auth.token_secret`.
    pub fn new(secret: &'s [u8]) -> Self {
        Self(secret)
    }

    /// Returns the key for `purpose`; the key reveals neither the secret nor another key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = keyed(self.0);
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

pub(super) fn keyed(key: &[u8]) -> Hasher {
    Hasher::new_from_slice(key).expect("HMAC takes a key of any length")
}
