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

/// Time in which a ticket opens a stream; the stream may last longer.
pub(crate) const TICKET_LIFETIME: Duration = Duration::from_secs(60);

/// Id of a ticket: the ticket's MAC.
pub(crate) type TicketId = [u8; 32];

/// A genuine ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub id: TicketId,
    pub member: MemberId,
    pub session: SessionId,
    expires: Time,
}

/// Signs and verifies tickets.
pub struct Tickets([u8; 32]);

impl Tickets {
    /// Derives the key for tickets.
    pub fn new(keys: &Keys<'_>) -> Self {
        Self(keys.derive("stream-ticket"))
    }

    /// Returns a ticket for a member's session: both ids, time of expiry, MAC.
    pub fn issue(&self, member: MemberId, session: SessionId) -> String {
        self.issue_until(member, session, Time::now() + TICKET_LIFETIME)
    }

    fn issue_until(&self, member: MemberId, session: SessionId, expires: Time) -> String {
        let mut ticket = Vec::with_capacity(72);
        ticket.extend_from_slice(member.0.as_bytes());
        ticket.extend_from_slice(session.0.as_bytes());
        ticket.extend_from_slice(&expires.micros().to_be_bytes());
        let mac = self.mac(&ticket);
        ticket.extend_from_slice(&mac);
        BASE64_URL_SAFE_NO_PAD.encode(ticket)
    }

    /// Reads a ticket. An expired ticket is good only if `is_open` returns true: then the ticket reopens its stream.
    ///
    /// # Errors
    /// `unauthenticated` for a forged or expired ticket.
    pub fn verify(&self, ticket: &str, is_open: impl Fn(&TicketId) -> bool) -> Result<Ticket, Problem> {
        let is_good = |ticket: &Ticket| ticket.expires > Time::now() || is_open(&ticket.id);
        self.read(ticket)
            .filter(is_good)
            .ok_or_else(|| Problem::new(&kinds::UNAUTHENTICATED).detail("the ticket is not valid, or no longer"))
    }

    fn read(&self, ticket: &str) -> Option<Ticket> {
        use subtle::ConstantTimeEq;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (said, mac) = bytes.split_at_checked(40)?;
        let (ids, expires) = said.split_at(32);
        let genuine: bool = self.mac(said).ct_eq(mac).into();
        let own_id = mac.try_into().ok()?;
        let expires = Time::from_micros(i64::from_be_bytes(expires.try_into().ok()?))?;
        let id = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).ok();
        let (member, session) = (MemberId(id(&ids[..16])?), SessionId(id(&ids[16..])?));
        genuine.then_some(Ticket { id: own_id, member, session, expires })
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
        let not_open = |_: &TicketId| false;
        let read = tickets.verify(&ticket, not_open).unwrap();
        assert_eq!((read.member, read.session), whose);
        assert!(tickets.verify("", not_open).is_err());
        assert!(tickets.verify(&ticket[1..], not_open).is_err());
        assert!(Tickets::new(&Keys::new(b"another")).verify(&ticket, not_open).is_err());
    }

    #[test]
    fn a_ticket_after_its_time_reopens_its_stream_and_no_other() {
        let tickets = Tickets::new(&Keys::new(b"a secret"));
        let (member, session) = (MemberId::new(), SessionId::new());
        let old = tickets.issue_until(member, session, Time::now() - Duration::from_secs(1));
        assert!(tickets.verify(&old, |_| false).is_err());
        assert_eq!(tickets.verify(&old, |_| true).unwrap().member, member);
        let other = tickets.read(&tickets.issue(member, session)).unwrap().id;
        assert!(tickets.verify(&old, |id| *id == other).is_err());
    }
}
