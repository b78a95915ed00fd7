//! Authentication: passwords, tokens, sessions, and ids bound to an owner.

mod caller;
mod keys;
mod password;
mod request_ids;
mod sessions;
mod tickets;
mod tokens;

pub(crate) use caller::{Admin, Caller};
pub(crate) use keys::Keys;
pub(crate) use password::{Passwords, hash as hash_password, note_wrong_password};
pub(crate) use request_ids::RequestIds;
pub(crate) use sessions::Sessions;
pub(crate) use tickets::{TICKET_LIFETIME, TicketId, Tickets};
pub(crate) use tokens::{RefreshToken, Tokens};
