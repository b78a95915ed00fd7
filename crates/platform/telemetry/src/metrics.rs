//! Prometheus metrics of this process.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::names;

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// How often recorded values are folded into buckets, so that they don't pile up when nobody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// All metrics in the text format of Prometheus; empty before [`crate::init`].
pub fn render() -> String {
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Begins to record; only the first call does something.
pub(crate) fn install() -> Result<(), String> {
    let text = |e: metrics_exporter_prometheus::BuildError| e.to_string();
    let recorder = PrometheusBuilder::new()
        .set_buckets(names::SECONDS)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Full(names::WRITER_GROUP_UNITS.into()), names::UNITS))
        .map_err(text)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| e.to_string())?;
    names::describe();
    let upkeep = handle.clone();
    let run = move || {
        loop {
            std::thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    };
    std::thread::Builder::new().name("metrics-upkeep".into()).spawn(run).map_err(|e| e.to_string())?;
    HANDLE.get_or_init(|| handle);
    Ok(())
}
