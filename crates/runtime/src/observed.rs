//! Observation of a program: logs, metrics and traces, and events for an event proxy.

use std::fs;
use std::time::Duration;

use event_proxy_client::{BuildError, Builder, EventProxy, ProxyLayer, install};
use program::settings::{SettingError, observe_with};
use telemetry::{MoreLayer, Process};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::settings::{EventProxySettings, Settings};

/// Maximum wait at the end of a program for the proxy to take the remaining events.
const FLUSHED_WITHIN: Duration = Duration::from_secs(3);

/// Type of events made from logged errors.
const ERROR: &str = "error";
/// Log target of dead letters, left out of the export: dead letters are visible elsewhere, and a dead error event
/// would cause another error event.
const DEAD_LETTERS: &str = "messaging::alone";

/// An observed program.
pub struct Observed {
    proxy: Option<EventProxy>,
    _telemetry: telemetry::Guard,
}

impl Settings {
    /// Sets up logs, metrics and traces for this process, named `program`, and the client of the event proxy.
    ///
    /// # Errors
    /// The unusable setting.
    pub fn observe(&self, program: &str) -> Result<Observed, SettingError> {
        let proxy = self.event_proxy.start()?;
        let errors = proxy.as_ref().filter(|_| self.event_proxy.errors);
        let errors = errors.map(|proxy| shipped(proxy, program)).transpose()?;
        let process = Process { name: program, data_dir: &self.data_dir };
        let telemetry = observe_with(process, &self.log, &self.telemetry, errors)?;
        if let Some(Err(error)) = proxy.clone().map(install) {
            tracing::debug!(%error, "failures are reported by the client that was installed first");
        }
        Ok(Observed { proxy, _telemetry: telemetry })
    }
}

impl EventProxySettings {
    /// Returns true if the settings can be used. Nothing is read or connected.
    ///
    /// # Errors
    /// The unusable setting.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        self.builder().map_or(Ok(()), |builder| builder.build().map(drop).map_err(refused))
    }

    /// Starts the client; returns `None` without an address in the settings.
    pub(crate) fn start(&self) -> Result<Option<EventProxy>, SettingError> {
        let Some(mut builder) = self.builder() else { return Ok(None) };
        if let Some(file) = &self.ca_file {
            let bad = |error| SettingError::new("event_proxy.ca_file", format!("{}: {error}", file.display()));
            builder = builder.ca_certificates(fs::read(file).map_err(bad)?);
        }
        builder.build().map(Some).map_err(refused)
    }

    fn builder(&self) -> Option<Builder> {
        if self.url.is_empty() {
            return None;
        }
        let mut builder = self.url.iter().fold(EventProxy::builder(), event_proxy_client::Builder::url);
        if !self.api_key.is_empty() {
            builder = builder.api_key(self.api_key.expose());
        }
        Some(builder.shutdown_timeout(FLUSHED_WITHIN))
    }
}

fn shipped(proxy: &EventProxy, program: &str) -> Result<MoreLayer, SettingError> {
    let events = Targets::new().with_default(LevelFilter::ERROR).with_target(DEAD_LETTERS, LevelFilter::OFF);
    let layer = ProxyLayer::builder(proxy.clone()).service(program).event_type(ERROR).events(events);
    Ok(Box::new(layer.build().map_err(refused)?))
}

fn refused(error: BuildError) -> SettingError {
    match error {
        BuildError::Setting { setting: "ca_certificates", reason } => SettingError::new("event_proxy.ca_file", reason),
        BuildError::Setting { setting, reason } => SettingError::new(format!("event_proxy.{setting}"), reason),
        other => SettingError::new("event_proxy", other.to_string()),
    }
}

impl Observed {
    /// Runs the work of the program, and then flushes the remaining events to the event proxy.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let done = work.await;
        if let Some(proxy) = &self.proxy
            && proxy.flush(FLUSHED_WITHIN).await.is_err()
        {
            let lost = proxy.stats().queued;
            tracing::warn!(lost, "the event proxy did not take the last reports in time");
        }
        done
    }
}
