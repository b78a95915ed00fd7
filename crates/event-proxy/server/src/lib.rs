//! The event proxy: services in any language post events over REST. The proxy keeps the events on disk, in order by
//! key, and delivers them when Kafka is available.
//!
//! [`Proxy::open`], then [`Server::start`](http::Server::start). It is HTTP in front of the event log of the platform,
//! and knows nothing of the shop.

mod api;
pub mod auth;
pub mod cluster;
mod delivery;
pub mod http;
mod ingest;
mod proxy;
mod schema;
pub mod settings;
mod topics;
mod ui;

pub use proxy::Proxy;

/// A tenth faster than the C library's allocator, also for SQLite's allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
