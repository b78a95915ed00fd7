//! The shop's REST API, and the command line of its binary.
//!
//! [`http::server::Server`] serves an open [`runtime::Shop`]; [`cli`] is what `shop` on the command line does.

mod auth;
mod cache;
pub mod cli;
mod dto;
pub mod http;
mod idempotency;
mod routes;
mod storefront;
mod streams;

pub use storefront::Storefront;
