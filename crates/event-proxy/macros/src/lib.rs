//! The attribute `report_errors` of `event-proxy-client`, which re-exports it. Use it from there.

mod arguments;
mod expand;

use proc_macro::TokenStream;

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
/// process-wide client (`event_proxy_client::install`), and does nothing without one. It neither blocks nor fails the
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
#[proc_macro_attribute]
pub fn report_errors(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}
