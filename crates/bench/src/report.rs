//! Figures and output.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Durations of many operations, and the total time.
pub(crate) struct Figures {
    micros: Histogram<u64>,
    pub took: Duration,
    /// Weight of one operation: a request with many events counts as many.
    pub each: u64,
    /// Unexpected answers.
    pub failed: u64,
}

impl Figures {
    /// Returns empty figures.
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

    /// Returns the number of operations.
    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        (self.count() * self.each) as f64 / self.took.as_secs_f64()
    }

    /// Returns a percentile in milliseconds.
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

/// Values of all runs by name, in the order of the first appearance.
static RUNS: Mutex<Vec<(String, Vec<f64>)>> = Mutex::new(Vec::new());

fn record(name: &str, value: f64) {
    let mut runs = RUNS.lock();
    match runs.iter_mut().find(|(known, _)| known == name) {
        Some((_, values)) => values.push(value),
        None => runs.push((name.to_owned(), vec![value])),
    }
}

/// Prints the median and the spread of each value after more than one run.
pub(crate) fn spread(runs: usize) {
    if runs < 2 {
        return;
    }
    println!("{:<72} {:>10} {:>10} {:>10}  runs", "", "least", "median", "most");
    for (name, mut values) in std::mem::take(&mut *RUNS.lock()) {
        values.sort_by(f64::total_cmp);
        let (least, median, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        println!("{name:<72} {least:>10.2} {median:>10.2} {most:>10.2}  {}", values.len());
    }
}

/// Prints a row of the report.
pub(crate) fn line(what: &str, figures: &Figures) {
    println!("{what:<44} {figures}");
    record(&format!("{what}, a second"), figures.per_second());
    record(&format!("{what}, p50 in ms"), figures.percentile(50.0));
    record(&format!("{what}, p99 in ms"), figures.percentile(99.0));
}

/// Prints a row with only a rate.
pub(crate) fn rate(what: &str, per_second: f64) {
    println!("{what:<44} {per_second:>8.0}/s");
    record(&format!("{what}, a second"), per_second);
}

/// Prints a line below the row `what`: values with their names and digits.
pub(crate) fn detail(what: &str, kind: &str, values: &[(&str, f64, usize)]) {
    let text: Vec<_> = values.iter().map(|(name, value, digits)| format!("{name} {value:.digits$}")).collect();
    println!("  {kind:<42} {}", text.join(", "));
    for (name, value, _) in values {
        record(&format!("{what}: {kind}: {name}"), *value);
    }
}

/// Prints a ratio and the goal.
pub(crate) fn ratio(what: &str, is: f64, goal: f64) {
    println!("{what:<44} {is:>8.2}     goal {goal}   {}", if is >= goal { "met" } else { "NOT MET" });
    record(what, is);
}

/// Prints a figure and the upper limit.
pub(crate) fn at_most(what: &str, is: f64, goal: f64) {
    println!("{what:<44} {is:>8.2}     goal {goal}   {}", if is <= goal { "met" } else { "NOT MET" });
    record(what, is);
}
