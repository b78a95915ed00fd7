//! Log lines, and the set-up of a process's observation.

use std::io::{IsTerminal, stderr};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::metrics::{self, Process};
use crate::otlp::{self, OtlpSettings};
use crate::trace;

/// Format and filter of log lines. Lines go to standard error.
#[derive(Debug, Clone)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives of `tracing`: `info`, `warn,shop=debug`.
    pub filter: String,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: a line each, in colour on a terminal.
    Pretty,
    /// For collectors: a JSON object a line.
    Json,
}

/// Failure to set up the observation of a process.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The directives of the log filter make no sense.
    #[error("{0}")]
    Filter(String),
    /// The exporter of traces could not be made.
    #[error("{0}")]
    Otlp(String),
    /// Something else in the process has already set up logs or metrics.
    #[error("{0}")]
    Taken(String),
}

/// Exports the remaining spans when dropped.
#[must_use]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last traces could not be exported: {error}");
        }
    }
}

/// Directive before the directives of the settings: the HTTP library logs an error for each request that is not HTTP.
const QUIET: &str = "actix_http::h1=off";

/// Layer that also receives all log events.
pub type MoreLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Sets up logs, metrics, and the export of traces if `otlp` is given, for the whole process. `more` receives every line
/// that the filter lets through.
///
/// Only the first call sets up; later calls (of further tests in a process) return an empty guard.
///
/// # Errors
/// As [`InitError`] says; nothing is set up then.
pub fn init(
    process: Process<'_>,
    log: &LogSettings,
    otlp: Option<&OtlpSettings>,
    more: Option<MoreLayer>,
) -> Result<Guard, InitError> {
    static DONE: Mutex<bool> = Mutex::new(false);
    // a panic in here is no reason to panic again
    let mut done = DONE.lock();
    if *done {
        return Ok(Guard { provider: None });
    }
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.filter)).map_err(|e| InitError::Filter(e.to_string()))?;
    let provider = otlp.map(otlp::provider).transpose().map_err(InitError::Otlp)?;
    let export = provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("shop")));
    if export.is_some() {
        trace::export();
    }
    let subscriber = Registry::default().with(more).with(filter).with(lines(log.format)).with(export);
    tracing::subscriber::set_global_default(subscriber).map_err(|e| InitError::Taken(e.to_string()))?;
    metrics::install(process).map_err(InitError::Taken)?;
    *done = true;
    Ok(Guard { provider })
}

/// Returns true if [`init`] would take `filter`.
///
/// # Errors
/// The error in the filter.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|e| e.to_string())
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr);
    match format {
        LogFormat::Pretty => layer.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    }
}
