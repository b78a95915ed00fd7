//! Who calls: passwords, tokens, sessions, and the ids that only their owner can use.

mod caller;
mod guesses;
mod keys;
mod password;
mod request_ids;
mod sessions;
mod tickets;
mod tokens;

pub use caller::{Admin, Caller};
pub use guesses::Guesses;
pub use keys::Keys;
pub use password::{Passwords, hash as hash_password};
pub use request_ids::RequestIds;
pub use sessions::Sessions;
pub use tickets::{TICKET_LIFETIME, TicketId, Tickets};
pub use tokens::{RefreshToken, Tokens};
