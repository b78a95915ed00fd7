//! Access: API keys of services, and the admin's password and sessions.

pub mod admin;
pub(crate) mod caller;
mod ended_sessions;
mod key_rows;
pub mod keys;
mod session;
