//! The event proxy: services in any language post events over REST. The proxy keeps the events on disk, in order by
//! key, and delivers them when Kafka is available.
//!
//! [`Proxy::open`], then [`Server::start`](http::Server::start). It is HTTP in front of the event log of the platform,
//! and knows nothing of the shop.

mod accept;
pub mod admin;
mod cloudevents;
pub mod control;
mod dead_letters;
mod delivery;
mod door;
mod event;
mod held;
mod housekeeping;
pub mod http;
mod ingest;
mod intake;
pub mod keys;
mod ledger;
mod pages;
mod peers;
mod proxy;
mod quota;
mod receipt;
mod refusals;
mod relay;
mod room;
mod routes;
mod same;
mod schema;
pub mod settings;
mod spans;
mod topic_rows;
mod topics;
mod waiting;

pub use proxy::Proxy;

/// A tenth faster than the C library's allocator, also for SQLite's allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
