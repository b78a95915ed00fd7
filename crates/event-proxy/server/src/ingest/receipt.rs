//! Receipts: tokens for questions about an event.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use db::types::Id;
use hmac::{Hmac, KeyInit, Mac};
use program::Secret;
use sha2::Sha256;
use uuid::Uuid;

/// Bytes of the MAC in a receipt.
const MAC: usize = 8;

/// Builds and reads receipts: `{node}.{id and MAC}`. The MAC exposes a forged receipt.
pub(crate) struct Receipts {
    node: String,
    key: Hmac<Sha256>,
}

impl Receipts {
    /// Returns the receipts of the proxy `node`.
    pub(crate) fn new(node: &str, secret: &Secret) -> Self {
        let key = Hmac::new_from_slice(secret.expose().as_bytes()).expect("a key may be of any length");
        Self { node: node.to_owned(), key }
    }

    /// Returns the receipt of an event.
    pub(crate) fn of(&self, id: Id) -> String {
        let Id(id) = id;
        let mut bytes = id.as_bytes().to_vec();
        bytes.extend(self.mac(id.as_bytes()));
        format!("{}.{}", self.node, BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Returns the event of a receipt; `None` for a receipt of another proxy or a forged receipt.
    pub(crate) fn read(&self, receipt: &str) -> Option<Id> {
        let (node, rest) = receipt.rsplit_once('.')?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(rest).ok().filter(|_| node == self.node)?;
        let (id, mac) = bytes.split_at_checked(size_of::<Uuid>())?;
        (mac == self.mac(id)).then_some(Uuid::from_slice(id).ok()?.into())
    }

    fn mac(&self, id: &[u8]) -> Vec<u8> {
        let mac = self.key.clone().chain_update(id).finalize();
        mac.into_bytes()[..MAC].to_vec()
    }
}
