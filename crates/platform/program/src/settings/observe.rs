//! How a program is observed: log lines, and traces that are exported.

use std::collections::BTreeMap;

use serde::Deserialize;
use telemetry::{InitError, LogFormat, MoreLayer, Process};

use super::SettingError;
use crate::{Secret, defaults};

/// Traces.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    pub otlp: OtlpSettings,
}

/// Export of traces.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpSettings {
    /// The collector; nothing is exported unless set.
    pub endpoint: Option<String>,
    /// Sent along, for authorisation say.
    pub headers: BTreeMap<String, Secret>,
    /// The program's own name unless set.
    pub service_name: Option<String>,
    /// The share of traces that are exported, from 0 to 1.
    pub sample_ratio: f64,
}
defaults!(OtlpSettings { endpoint: None, headers: BTreeMap::new(), service_name: None, sample_ratio: 1.0 });

/// Log lines.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives of `tracing`: `info`, `warn,shop=debug`.
    pub filter: String,
}
defaults!(LogSettings { format: LogFormat::Pretty, filter: "info".into() });

impl LogSettings {
    /// # Errors
    /// `log.filter`
    pub fn check(&self) -> Result<(), SettingError> {
        telemetry::check_filter(&self.filter).map_err(|reason| SettingError::new("log.filter", reason))
    }
}

impl TelemetrySettings {
    /// # Errors
    /// `telemetry.otlp.sample_ratio`
    pub fn check(&self) -> Result<(), SettingError> {
        let ratio = self.otlp.sample_ratio;
        let reason = format!("expected 0 to 1, got {ratio}");
        super::expect("telemetry.otlp.sample_ratio", (0.0..=1.0).contains(&ratio), &reason)
    }
}

/// Sets up logs, metrics and traces for the process; keep the guard until the end.
///
/// # Errors
/// The setting that can't be used.
pub fn observe(
    process: Process<'_>,
    log: &LogSettings,
    telemetry: &TelemetrySettings,
) -> Result<telemetry::Guard, SettingError> {
    observe_with(process, log, telemetry, None)
}

/// As [`observe`], and `more` has what is logged as well.
///
/// # Errors
/// The setting that can't be used.
pub fn observe_with(
    process: Process<'_>,
    log: &LogSettings,
    telemetry: &TelemetrySettings,
    more: Option<MoreLayer>,
) -> Result<telemetry::Guard, SettingError> {
    let log = telemetry::LogSettings { format: log.format, filter: log.filter.clone() };
    let otlp = &telemetry.otlp;
    let export = otlp.endpoint.clone().map(|endpoint| telemetry::OtlpSettings {
        endpoint,
        headers: otlp.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
        service_name: otlp.service_name.clone().unwrap_or_else(|| process.name.to_owned()),
        sample_ratio: otlp.sample_ratio,
    });
    telemetry::init(process, &log, export.as_ref(), more).map_err(|error| {
        let key = match &error {
            InitError::Filter(_) => "log.filter",
            InitError::Otlp(_) => "telemetry.otlp.endpoint",
            InitError::Taken(_) => "log",
        };
        SettingError::new(key, error.to_string())
    })
}
