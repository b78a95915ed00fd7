//! A client of the event proxy: delivers a service's events in the background, and never blocks or fails the service.
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
//! [`send`](EventProxy::send) puts the event into a bounded buffer. A thread of the client posts the events in
//! batches, retries for the time in [`Retry`], and moves to the next address if a proxy is unavailable. Every event
//! has an id from the start, so that an event with a lost answer is not taken twice. [`Stats`] counts the outcomes.
//! An event is lost if the buffer is full, if the proxy refuses the event, if no proxy takes the event in time, or if
//! the process is killed before the delivery.
//!
//! The attribute [`report_errors`] reports errors of a function; the layer [`ProxyLayer`] reports log events of
//! `tracing`.

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

/// Reports the error of a function to the event proxy, and returns the unchanged result.
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
/// The attribute goes on functions and methods with a body, async or not, generic or not, that return a `Result`.
/// Reports go to the process-wide client (`install`); without a client the attribute does nothing. A report neither
/// blocks nor fails the caller: if the client's buffer is full, the event is dropped and counted there.
///
/// Inside `#[async_trait]` the attribute does not compile, because a method there returns a boxed future: put the
/// attribute on an async function, and call this function from the method.
///
/// | argument | |
/// | --- | --- |
/// | `type = "…"` | the event's type: 1 to 64 of letters, digits, `_` and `-` |
/// | `service = "…"` | the service, if not the client's own |
/// | `key = expression` | the event's key, any value with `Display` |
/// | `fields(name = expression, …)` | more to report, any value with `serde::Serialize` |
///
/// A key is cut to 255 bytes. An empty key or a key with a NUL is left out.
///
/// The expressions see the function's arguments. The expressions are evaluated before the body, also for a success,
/// and not at all without a client.
///
/// The event has the level `error`, and as data `error`, `causes` (the error's `source`s), `function`, `module`,
/// `file`, `line` and `fields`. The error must implement `Display`. The attribute reports the causes of types with
/// `std::error::Error`, and of `Box<dyn Error>` and `anyhow::Error`; in a generic function the bounds count. `Debug`
/// alone is not enough, because `Debug` may show more than readers of events should see.
///
/// # What is refused
///
/// A function without a `Result` does not compile:
///
/// ```compile_fail,E0308
/// #[event_proxy_client::report_errors(service = "order", type = "payment-failed")]
/// fn pay() -> Option<()> {
///     None
/// }
/// ```
///
/// An error without `Display` does not compile:
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
/// A missing or invalid type, unknown arguments, or an item without a body do not compile:
///
/// ```compile_fail
/// #[event_proxy_client::report_errors(service = "order", type = "payment.failed")]
/// fn pay() -> Result<(), String> {
///     Ok(())
/// }
/// ```
pub use event_proxy_macros::report_errors;
