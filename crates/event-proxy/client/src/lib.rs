//! A client of the event proxy: hands a service's events over to it in the background, and never blocks or fails the
//! service for them.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use event_proxy_client::{Event, EventProxy};
//!
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = EventProxy::builder()
//!     .url("http://127.0.0.1:8090")
//!     .url("http://127.0.0.1:8091") // when the first is away
//!     .service("order")
//!     .build()?;
//!
//! proxy.send(Event::new("payment-failed").key("order-17").data(serde_json::json!({ "amount": 1200 })))?;
//!
//! proxy.flush(Duration::from_secs(5)).await?; // before the program ends
//! # Ok(())
//! # }
//! ```
//!
//! [`send`](EventProxy::send) puts the event into a bounded buffer; a thread of the client posts them in batches,
//! tries again for as long as [`Retry`] says, and goes to the next address when one is away. Every event has an id from
//! the start, so that one whose answer was lost is not taken twice. What becomes of them is counted in [`Stats`]: an
//! event is lost when the buffer is full, when the proxy refuses it, when no proxy takes it in time, and when the
//! process is killed while it waits.
//!
//! Errors of a function are reported by an attribute, [`report_errors`]; what is logged with `tracing`, by a layer,
//! [`ProxyLayer`].

#[doc(hidden)]
#[path = "report.rs"]
pub mod __private;
mod answer;
mod buffer;
mod builder;
mod error;
mod event;
mod install;
mod layer;
mod proxy;
mod retry;
mod worker;

pub use buffer::{Dropped, Stats};
pub use builder::{Ack, Builder};
pub use error::{AlreadyInstalled, BuildError, NotFlushed, SendError};
pub use event::{Event, Level};
pub use event_proxy_macros::report_errors;
pub use install::{install, installed};
pub use layer::{ProxyLayer, ProxyLayerBuilder};
pub use proxy::EventProxy;
pub use retry::Retry;
