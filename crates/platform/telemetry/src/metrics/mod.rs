//! Prometheus metrics of this process.

mod handle;
mod list;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

pub use handle::{Counter, Gauge, Histogram, Kind, Metric, Program};
pub use list::*;
pub use metrics::Unit;

static RECORDED: OnceLock<Recorded> = OnceLock::new();

/// Interval of folding recorded values into buckets, so that values do not pile up without scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of durations, in seconds: from a read out of memory to what a client gives up on.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the buckets of group sizes, in units of work.
const UNITS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Commit of the build, if set at build time.
const COMMIT: Option<&str> = option_env!("BUILD_COMMIT");

/// Process with recorded metrics.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// Label `program` of [`BUILD_INFO`].
    pub name: &'a str,
    /// Folder on the watched file system; the folder may be missing.
    pub data_dir: &'a Path,
}

struct Recorded {
    handle: PrometheusHandle,
    process: Collector,
    data_dir: PathBuf,
}

/// Returns all metrics in the text format of Prometheus; empty before [`crate::init`].
pub fn render() -> String {
    let Some(recorded) = RECORDED.get() else { return String::new() };
    recorded.process.collect();
    // absent while the folder is missing
    if let Ok(disk) = fs4::statvfs(&recorded.data_dir) {
        DATA_DIR_AVAILABLE_BYTES.of([]).set(disk.available_space() as f64);
        DATA_DIR_SIZE_BYTES.of([]).set(disk.total_space() as f64);
    }
    recorded.handle.render()
}

/// Starts to record; only the first call has an effect.
pub(crate) fn install(process: Process<'_>) -> Result<(), String> {
    let text = |e: metrics_exporter_prometheus::BuildError| e.to_string();
    let recorder = PrometheusBuilder::new()
        .set_buckets(SECONDS)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Full(WRITER_GROUP_UNITS.name.into()), UNITS))
        .map_err(text)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| e.to_string())?;
    ALL.iter().for_each(Metric::describe);
    let commit = COMMIT.filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    BUILD_INFO.of([process.name.to_owned().into(), env!("CARGO_PKG_VERSION").into(), commit.into()]).set(1.0);
    let upkeep = handle.clone();
    let run = move || {
        loop {
            std::thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    };
    std::thread::Builder::new().name("metrics-upkeep".into()).spawn(run).map_err(|e| e.to_string())?;
    RECORDED.get_or_init(|| Recorded { handle, process: Collector::default(), data_dir: process.data_dir.to_owned() });
    Ok(())
}
