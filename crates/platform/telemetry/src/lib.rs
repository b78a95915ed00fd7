//! Logs, metrics and traces: how every process of the project is observed.
mod trace;
pub use trace::TraceContext;
