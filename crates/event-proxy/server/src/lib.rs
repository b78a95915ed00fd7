//! The event proxy: services in any language post their events over REST; it keeps them on disk, in order by key, and
//! brings them to Kafka whenever Kafka is there.
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

/// A tenth faster than the C library's, for what SQLite allocates too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
