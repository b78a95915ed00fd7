//! Tickets for the notification stream: a browser's `EventSource` can send no header.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contracts::MemberId;
use db::types::Time;
use hmac::Mac;
use member::SessionId;

use super::keys::{Keys, keyed};
use crate::http::kinds;
use crate::http::problem::Problem;

/// How long a ticket opens a stream; the stream may last longer.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(60);

/// Signs and verifies tickets.
pub struct Tickets([u8; 32]);

impl Tickets {
    /// With the key for tickets.
    pub fn new(keys: &Keys<'_>) -> Self {
        Self(keys.derive("stream-ticket"))
    }

    /// A ticket for a member's session: both ids, time of expiry, MAC.
    pub fn issue(&self, member: MemberId, session: SessionId) -> String {
        let mut ticket = Vec::with_capacity(72);
        ticket.extend_from_slice(member.0.as_bytes());
        ticket.extend_from_slice(session.0.as_bytes());
        ticket.extend_from_slice(&(Time::now() + TICKET_LIFETIME).micros().to_be_bytes());
        let mac = self.mac(&ticket);
        ticket.extend_from_slice(&mac);
        BASE64_URL_SAFE_NO_PAD.encode(ticket)
    }

    /// Whose ticket it is, and of which session.
    ///
    /// # Errors
    /// `unauthenticated` when it is forged or expired.
    pub fn verify(&self, ticket: &str) -> Result<(MemberId, SessionId), Problem> {
        self.open(ticket)
            .ok_or_else(|| Problem::new(&kinds::UNAUTHENTICATED).detail("the ticket is not valid, or no longer"))
    }

    fn open(&self, ticket: &str) -> Option<(MemberId, SessionId)> {
        use subtle::ConstantTimeEq;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (said, mac) = bytes.split_at_checked(40)?;
        let (ids, expires) = said.split_at(32);
        let genuine: bool = self.mac(said).ct_eq(mac).into();
        let expires = Time::from_micros(i64::from_be_bytes(expires.try_into().ok()?))?;
        let id = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).ok();
        let (member, session) = (MemberId(id(&ids[..16])?), SessionId(id(&ids[16..])?));
        (genuine && expires > Time::now()).then_some((member, session))
    }

    fn mac(&self, said: &[u8]) -> [u8; 32] {
        let mut mac = keyed(&self.0);
        mac.update(said);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_its_member_and_spoilt_by_any_change() {
        let tickets = Tickets::new(&Keys::new(b"a secret"));
        let whose = (MemberId::new(), SessionId::new());
        let ticket = tickets.issue(whose.0, whose.1);
        assert_eq!(tickets.verify(&ticket).unwrap(), whose);
        assert!(tickets.verify("").is_err());
        assert!(tickets.verify(&ticket[1..]).is_err());
        assert!(Tickets::new(&Keys::new(b"another")).verify(&ticket).is_err());
    }
}
