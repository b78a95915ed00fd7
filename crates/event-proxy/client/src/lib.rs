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
pub use install::{install, installed};
pub use layer::{ProxyLayer, ProxyLayerBuilder};
pub use proxy::EventProxy;
pub use retry::Retry;

/// Reports the error of a function to the event proxy, and returns the result as it is.
///
/// ```
/// use event_proxy_client::report_errors;
///
/// #[report_errors(service = "order", type = "payment-failed", key = order, fields(amount = amount))]
/// fn pay(order: u64, amount: u64) -> Result<(), String> {
///     Err(format!("order {order} can't be paid"))
/// }
///
/// assert_eq!(pay(17, 1200).unwrap_err(), "order 17 can't be paid"); // reported, if a client is installed
/// ```
///
/// It goes on functions and methods with a body, async or not, generic or not, that return a `Result`. It uses the
/// process-wide client (`install`), and does nothing without one. It neither blocks nor fails the
/// caller: an event that does not fit into the client's buffer is dropped and counted there.
///
/// Inside `#[async_trait]` it does not compile, for a method there returns a boxed future by the time the attribute sees
/// it: put it on an async function that the method calls.
///
/// | argument | |
/// | --- | --- |
/// | `type = "…"` | the event's type: 1 to 64 of letters, digits, `_` and `-` |
/// | `service = "…"` | the service, if not the client's own |
/// | `key = expression` | the event's key, anything that implements `Display` |
/// | `fields(name = expression, …)` | more to report, anything that implements `serde::Serialize` |
///
/// A key is cut to 255 bytes, and left out if it is empty or has a NUL.
///
/// The expressions see the function's arguments; they are evaluated before its body, whether or not it fails, and not
/// at all without a client.
///
/// The event has the level `error`, and as data `error`, `causes` (its `source`s), `function`, `module`, `file`, `line`
/// and `fields`. The error must implement `Display`. Causes are told of what implements `std::error::Error`, and of
/// `Box<dyn Error>` and `anyhow::Error`; in a generic function it is its bounds that count. `Debug` alone is not
/// enough: it says more than somebody who reads events should see.
///
/// # What is refused
///
/// A function that does not return a `Result`:
///
/// ```compile_fail,E0308
/// #[event_proxy_client::report_errors(service = "order", type = "payment-failed")]
/// fn pay() -> Option<()> {
///     None
/// }
/// ```
///
/// An error that can't be displayed:
///
/// ```compile_fail,E0277
/// struct Secret;
///
/// #[event_proxy_client::report_errors(service = "order", type = "payment-failed")]
/// fn pay() -> Result<(), Secret> {
///     Err(Secret)
/// }
/// ```
///
/// No type, or one that the proxy would refuse; unknown arguments; what is no function with a body:
///
/// ```compile_fail
/// #[event_proxy_client::report_errors(service = "order", type = "payment.failed")]
/// fn pay() -> Result<(), String> {
///     Ok(())
/// }
/// ```
pub use event_proxy_macros::report_errors;
