//! HTTP: common parts of all routes.

pub mod app;
mod docs;
pub mod kinds;
pub mod limits;
mod probes;
pub mod problem;
mod refusals;
pub mod server;
