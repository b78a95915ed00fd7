//! Observation of a program: log lines, and exported traces.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Deserialize;
use telemetry::{InitError, LogFormat, MoreLayer, Process};

use super::{SettingError, is_host};
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
    /// Share of exported traces, from 0 to 1.
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
    /// `telemetry.otlp.sample_ratio`, `telemetry.otlp.endpoint`, `telemetry.otlp.headers`
    pub fn check(&self) -> Result<(), SettingError> {
        let ratio = self.otlp.sample_ratio;
        let reason = format!("expected 0 to 1, got {ratio}");
        super::expect("telemetry.otlp.sample_ratio", (0.0..=1.0).contains(&ratio), &reason)?;
        let is_good = self.otlp.endpoint.as_deref().is_none_or(is_endpoint);
        super::expect("telemetry.otlp.endpoint", is_good, "expected a URL like http://localhost:4318")?;
        for (name, value) in &self.otlp.headers {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            super::expect("telemetry.otlp.headers", is_name, &format!("expected names of headers, got {name:?}"))?;
            let is_line = !value.expose().chars().any(char::is_control);
            super::expect(&format!("telemetry.otlp.headers.{name}"), is_line, "expected a value of one line")?;
        }
        let checked = self.export("check").map_or(Ok(()), |export| telemetry::check_otlp(&export));
        checked.map_err(|reason| SettingError::new("telemetry.otlp.endpoint", reason))
    }

    fn export(&self, program: &str) -> Option<telemetry::OtlpSettings> {
        let otlp = &self.otlp;
        otlp.endpoint.clone().map(|endpoint| telemetry::OtlpSettings {
            endpoint,
            headers: otlp.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
            service_name: otlp.service_name.clone().unwrap_or_else(|| program.to_owned()),
            sample_ratio: otlp.sample_ratio,
        })
    }
}

/// Returns true for a URL of HTTP with a host and an optional port. The exporter would accept other URLs and send
/// nothing.
fn is_endpoint(url: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.and_then(|authority| authority.rsplit('@').next()).is_some_and(is_host)
}

/// Sets up logs, metrics and traces for the process; keep the guard until the end.
///
/// # Errors
/// The unusable setting.
pub fn observe(
    process: Process<'_>,
    log: &LogSettings,
    telemetry: &TelemetrySettings,
) -> Result<telemetry::Guard, SettingError> {
    observe_with(process, log, telemetry, None)
}

/// Sets up logs, metrics and traces like [`observe`]; `more` receives all log events.
///
/// # Errors
/// The unusable setting.
pub fn observe_with(
    process: Process<'_>,
    log: &LogSettings,
    telemetry: &TelemetrySettings,
    more: Option<MoreLayer>,
) -> Result<telemetry::Guard, SettingError> {
    let log = telemetry::LogSettings { format: log.format, filter: log.filter.clone() };
    let export = telemetry.export(process.name);
    let guard = telemetry::init(process, &log, export.as_ref(), more).map_err(|error| {
        let key = match &error {
            InitError::Filter(_) => "log.filter",
            InitError::Otlp(_) => "telemetry.otlp.endpoint",
            InitError::Taken(_) => "log",
        };
        SettingError::new(key, error.to_string())
    })?;
    warn_of_readers(process.data_dir);
    Ok(guard)
}

/// Warns about a data folder open to other users. Folders made under the umask of
/// [`process::run`](crate::process::run) belong to the owner alone; a folder of an earlier version keeps the
/// operator's mode.
fn warn_of_readers(data_dir: &Path) {
    let is_open = |folder: &Metadata| folder.permissions().mode() & 0o007 != 0;
    if data_dir.metadata().is_ok_and(|folder| is_open(&folder)) {
        let advice = format!("chmod -R go= {}", data_dir.display());
        tracing::warn!(data_dir = %data_dir.display(), advice, "other users of this machine can enter data_dir");
    }
}
