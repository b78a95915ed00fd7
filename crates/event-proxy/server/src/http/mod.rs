//! HTTP: common parts of all routes.

mod app;
mod health;
pub mod kinds;
mod server;
pub(crate) mod tls;

pub use crate::pages::ROUTES as PAGES;
pub use app::openapi;
pub use server::Server;
