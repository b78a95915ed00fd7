//! HTTP: common parts of all routes.

mod app;
mod health;
pub(crate) mod loopback_guard;
pub mod problems;
mod server;
pub(crate) mod tls;

pub use crate::ui::ROUTES as PAGES;
pub use app::openapi;
pub use server::Server;
