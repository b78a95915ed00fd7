//! Export of traces over OTLP (HTTP, protobuf), if configured.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

/// Destination of traces.
#[derive(Clone)]
pub struct OtlpSettings {
    /// The collector: `http://localhost:4318`; `/v1/traces` is added to a URL without a path.
    pub endpoint: String,
    /// Sent along, for authorisation say.
    pub headers: BTreeMap<String, String>,
    /// `service.name` of every span.
    pub service_name: String,
    /// Share of exported traces that begin here, from 0 to 1. A caller's decision is kept.
    pub sample_ratio: f64,
}

/// Headers carry keys, so only their names are shown.
impl fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers.keys())
            .field("service_name", &self.service_name)
            .field("sample_ratio", &self.sample_ratio)
            .finish()
    }
}

/// Returns a provider that sends finished spans from a separate thread, and drops spans while the collector is
/// unavailable.
pub(crate) fn provider(settings: &OtlpSettings) -> Result<SdkTracerProvider, String> {
    let exporter = exporter(settings)?;
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).with_sampler(sampler).build())
}

/// Looks whether traces can be exported by the settings. Nothing is connected.
///
/// # Errors
/// The error in the settings.
pub fn check_otlp(settings: &OtlpSettings) -> Result<(), String> {
    exporter(settings).map(drop)
}

fn exporter(settings: &OtlpSettings) -> Result<SpanExporter, String> {
    let headers: HashMap<_, _> = settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let builder = SpanExporter::builder().with_http().with_endpoint(traces_endpoint(&settings.endpoint));
    builder.with_headers(headers).build().map_err(|error| error.to_string())
}

fn traces_endpoint(endpoint: &str) -> String {
    let bare = endpoint.trim_end_matches('/');
    let authority = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    if authority.contains('/') { endpoint.into() } else { format!("{bare}/v1/traces") }
}
