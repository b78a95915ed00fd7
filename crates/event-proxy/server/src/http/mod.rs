//! HTTP: what is common to all routes.

mod app;
pub mod kinds;
mod server;

pub use server::Server;
