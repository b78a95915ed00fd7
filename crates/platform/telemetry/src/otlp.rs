//! Export of traces over OTLP (HTTP, protobuf), when it is configured.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

/// Where traces go.
#[derive(Clone)]
pub struct OtlpSettings {
    /// The collector: `http://localhost:4318`; `/v1/traces` is added when it has no path.
    pub endpoint: String,
    /// Sent along, for authorisation say.
    pub headers: BTreeMap<String, String>,
    /// `service.name` of every span.
    pub service_name: String,
    /// The share of traces that begin here and are exported, from 0 to 1. A caller's decision is kept.
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

/// A provider that sends finished spans from a thread of its own, and drops them while the collector is away.
pub(crate) fn provider(settings: &OtlpSettings) -> Result<SdkTracerProvider, String> {
    let headers: HashMap<_, _> = settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_endpoint(&settings.endpoint))
        .with_headers(headers)
        .build()
        .map_err(|e| e.to_string())?;
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).with_sampler(sampler).build())
}

fn traces_endpoint(endpoint: &str) -> String {
    let bare = endpoint.trim_end_matches('/');
    let authority = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    if authority.contains('/') { endpoint.into() } else { format!("{bare}/v1/traces") }
}
