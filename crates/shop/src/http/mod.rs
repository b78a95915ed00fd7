//! HTTP: what is common to all routes.

pub mod app;
mod directory;
mod docs;
pub mod input;
pub mod kinds;
pub mod limits;
mod observe;
pub mod page;
mod probes;
pub mod problem;
mod refusals;
pub mod reply;
pub mod server;
