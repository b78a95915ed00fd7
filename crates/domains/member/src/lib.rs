//! Members of the shop and their sessions.
//!
//! Passwords arrive hashed. A session lives as long as the refresh token is renewed in time. The database keeps only
//! SHA-256 hashes of tokens. Each token is good for one renewal; a second use shows a theft and ends the session.

mod error;
mod model;
mod schema;
mod service;
mod store;

pub use error::MemberError;
pub use model::{Credentials, Member, NAME, NewMember, Role, Rotation, SessionId, checked_email, normalised_email};
pub use service::{
    admins, credentials, credentials_of, get, insert_admin_if_absent, page, purge_sessions, register, rename,
    revoke_session, rotate_session, session_is_live, set_password, start_session,
};
