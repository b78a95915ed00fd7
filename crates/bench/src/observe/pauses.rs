//! Pauses of the broker, out of the log of its safepoints.

use std::path::Path;
use std::time::{Duration, SystemTime};

/// Times in which every thread of the broker stood still: garbage collections, and the JVM's other work.
#[derive(Default)]
pub(super) struct Pauses {
    pub count: u64,
    pub all: Duration,
    pub longest: Duration,
}

impl Pauses {
    /// Returns the pauses with an end in the window; `None` if the broker writes no pause log.
    pub(super) fn between(node: &Path, begin: SystemTime, end: SystemTime) -> Option<Self> {
        let millis = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_millis()).ok();
        let (begin, end) = (millis(begin)?, millis(end)?);
        let log = std::fs::read_to_string(node.join("pauses.log")).ok()?;
        let mut pauses = Self::default();
        for (_, took) in log.lines().filter_map(pause).filter(|(at, _)| (begin..=end).contains(at)) {
            pauses.count += 1;
            pauses.all += took;
            pauses.longest = pauses.longest.max(took);
        }
        Some(pauses)
    }
}

/// Reads `[1764500000000ms] Safepoint "G", …, Total: 1234 ns`: the time of day at the end, and the length.
fn pause(line: &str) -> Option<(u128, Duration)> {
    let at = line.strip_prefix('[')?.split_once("ms]")?.0.parse().ok()?;
    let total = line.rsplit_once("Total:")?.1.trim().strip_suffix(" ns")?;
    Some((at, Duration::from_nanos(total.parse().ok()?)))
}
