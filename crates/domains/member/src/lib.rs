//! Members of the shop, and the sessions they are signed in by.
//!
//! Passwords come in hashed. A session lives as long as its refresh token is renewed in time; tokens are kept only as
//! SHA-256 hashes, each is good for one renewal, and one that is used again ends its session: it was stolen.

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
