//! Logs, metrics and traces: how every process of the project is observed.
//!
//! [`init`] once at the start; then `tracing` for lines, the constants of [`metrics`] for figures, and
//! [`traced`] where a request or an event begins to be worked on.

mod logs;
pub mod metrics;
mod otlp;
mod trace;

pub use logs::{Guard, InitError, LogFormat, LogSettings, MoreLayer, check_filter, init};
pub use metrics::Process;
pub use otlp::{OtlpSettings, check_otlp};
pub use trace::{NotATraceparent, TraceContext, traced};
