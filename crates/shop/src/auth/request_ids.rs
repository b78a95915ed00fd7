//! Ids of coupon requests, which prove that this shop gave out the id, and to which member.

use contracts::{MemberId, RequestId};
use hmac::Mac;

use super::keys::{Keys, keyed};

/// Makes and recognises request ids: UUIDs of version 8, 48 bits of milliseconds, 26 random bits and a MAC of 48 bits
/// over these and the member.
///
/// So a request that is still in the log and has no row yet is told from rubbish and from another member's.
pub struct RequestIds([u8; 32]);

/// Offset of the MAC.
const MAC_AT: usize = 10;

impl RequestIds {
    /// Derives the key for request ids.
    pub fn new(keys: &Keys<'_>) -> Self {
        Self(keys.derive("request-id"))
    }

    /// Returns a new id for a request of `member`.
    pub fn generate(&self, member: MemberId) -> RequestId {
        let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[10..]);
        bytes[6..MAC_AT].copy_from_slice(&rand::random::<[u8; 4]>());
        let mut bytes = uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes();
        let mac = self.mac(&bytes, member);
        bytes[MAC_AT..].copy_from_slice(&mac);
        RequestId(uuid::Uuid::from_bytes(bytes))
    }

    /// Returns true if `id` was made for a request of `member`.
    pub fn is_of(&self, id: RequestId, member: MemberId) -> bool {
        use subtle::ConstantTimeEq;
        let bytes = id.0.as_bytes();
        self.mac(bytes, member).ct_eq(&bytes[MAC_AT..]).into()
    }

    fn mac(&self, bytes: &[u8; 16], member: MemberId) -> [u8; 6] {
        let mut mac = keyed(&self.0);
        mac.update(&bytes[..MAC_AT]);
        mac.update(member.0.as_bytes());
        let mac: [u8; 32] = mac.finalize().into_bytes().into();
        [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_its_own_member_alone() {
        let ids = RequestIds::new(&Keys::new(b"a secret"));
        let (one, other) = (MemberId::new(), MemberId::new());
        let id = ids.generate(one);
        assert_eq!(id.0.get_version_num(), 8);
        assert!(ids.is_of(id, one));
        assert!(!ids.is_of(id, other));
        assert!(!ids.is_of(RequestId(uuid::Uuid::now_v7()), one));
        assert!(!RequestIds::new(&Keys::new(b"another secret")).is_of(id, one));
    }
}
