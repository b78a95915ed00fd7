//! Receipts: what a service asks about its event by.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use db::types::Id;
use hmac::{Hmac, KeyInit, Mac};
use program::Secret;
use sha2::Sha256;
use uuid::Uuid;

/// Bytes of the MAC that are given out.
const MAC: usize = 8;

/// Makes receipts and reads them: `{node}.{id and MAC}`, so that one that was never given out is known for that.
pub(crate) struct Receipts {
    node: String,
    key: Hmac<Sha256>,
}

impl Receipts {
    /// Of the proxy `node`.
    pub(crate) fn new(node: &str, secret: &Secret) -> Self {
        let key = Hmac::new_from_slice(secret.expose().as_bytes()).expect("a key may be of any length");
        Self { node: node.to_owned(), key }
    }

    /// The receipt of an event.
    pub(crate) fn of(&self, id: Id) -> String {
        let Id(id) = id;
        let mut bytes = id.as_bytes().to_vec();
        bytes.extend(self.mac(id.as_bytes()));
        format!("{}.{}", self.node, BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The event of a receipt; `None` when this proxy never gave it out.
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
