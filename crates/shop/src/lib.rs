//! The shop's REST API, and the command line of the program.
//!
//! [`http::server::Server`] serves an open [`runtime::Shop`]; [`cli`] is the command line of `shop`.

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
