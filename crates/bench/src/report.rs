//! Figures, and how they are printed.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// How long each of many things took, and all together.
pub(crate) struct Figures {
    micros: Histogram<u64>,
    pub took: Duration,
    /// What one of them counts for: requests with many events are told as events.
    pub each: u64,
    /// Answers that were not what they should be.
    pub failed: u64,
}

impl Figures {
    /// None yet.
    pub(crate) fn new() -> Self {
        // three digits, up to a minute
        let micros = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order");
        Self { micros, took: Duration::ZERO, each: 1, failed: 0 }
    }

    pub(crate) fn record(&mut self, took: Duration) {
        self.micros.saturating_record((took.as_micros() as u64).max(1));
    }

    pub(crate) fn add(&mut self, other: &Figures) {
        self.micros.add(&other.micros).expect("the bounds are the same");
        self.failed += other.failed;
        self.took = self.took.max(other.took);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        (self.count() * self.each) as f64 / self.took.as_secs_f64()
    }

    /// In milliseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.micros.value_at_percentile(percent) as f64 / 1000.0
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8.0}/s   p50 {:>7.2} ms   p95 {:>7.2} ms   p99 {:>7.2} ms",
            self.per_second(),
            self.percentile(50.0),
            self.percentile(95.0),
            self.percentile(99.0)
        )?;
        if self.failed > 0 { write!(f, "   FAILED {}", self.failed) } else { Ok(()) }
    }
}

/// A line of the report, and whether its goal is met.
pub(crate) fn line(what: &str, figures: &Figures) {
    println!("{what:<44} {figures}");
}

/// A ratio against its goal.
pub(crate) fn ratio(what: &str, is: f64, goal: f64) {
    println!("{what:<44} {is:>8.2}     goal {goal}   {}", if is >= goal { "met" } else { "NOT MET" });
}

/// A figure that should be small against its goal.
pub(crate) fn at_most(what: &str, is: f64, goal: f64) {
    println!("{what:<44} {is:>8.2}     goal {goal}   {}", if is <= goal { "met" } else { "NOT MET" });
}
