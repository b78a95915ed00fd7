//! Threads of the HTTP server.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use program::settings::{SettingError, expect};

/// Maximum number of HTTP threads.
const MOST: usize = 512;

/// Checks the setting `http.workers`.
///
/// # Errors
/// [`SettingError`] of the setting.
pub fn check(workers: Option<NonZeroUsize>) -> Result<(), SettingError> {
    let workers = workers.map_or(1, NonZeroUsize::get);
    expect("http.workers", workers <= MOST, &format!("expected 1 to {MOST}, got {workers}"))
}

/// Returns the number of threads: `workers`, or the number of cores.
pub fn count(workers: Option<NonZeroUsize>) -> usize {
    workers.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get).min(MOST)
}
