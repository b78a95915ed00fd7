//! Delays of consumer groups, out of the metrics of this process.

use telemetry::metrics;

/// The cumulative buckets of [`metrics::CONSUMER_DELAY_SECONDS`].
pub(crate) struct Delays(Vec<(f64, f64)>);

impl Delays {
    /// Reads the delays of all groups together.
    pub(crate) fn now() -> Self {
        let mut buckets = std::collections::BTreeMap::<String, f64>::new();
        let prefix = format!("{}_bucket{{", metrics::CONSUMER_DELAY_SECONDS.name);
        let rendered = telemetry::metrics::render();
        for line in rendered.lines().filter(|line| line.starts_with(&prefix)) {
            let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
            if let (Some(bound), Some(count)) = (bound, count) {
                *buckets.entry(bound.to_owned()).or_default() += count;
            }
        }
        let number = |bound: &str| bound.parse().unwrap_or(f64::INFINITY);
        let mut buckets: Vec<_> = buckets.iter().map(|(bound, count)| (number(bound), *count)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(buckets)
    }

    pub(crate) fn since(self, before: &Self) -> Self {
        let earlier = |bound: f64| before.0.iter().find(|(same, _)| *same == bound).map_or(0.0, |(_, count)| *count);
        Self(self.0.into_iter().map(|(bound, count)| (bound, count - earlier(bound))).collect())
    }

    pub(crate) fn share_within(&self, seconds: f64) -> f64 {
        let within = self.0.iter().rfind(|(bound, _)| *bound <= seconds).map_or(0.0, |(_, count)| *count);
        within / self.0.last().map_or(f64::NAN, |(_, all)| *all)
    }
}

impl std::fmt::Display for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for bound in [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1] {
            write!(f, "{} ms {:.1} %  ", bound * 1000.0, self.share_within(bound) * 100.0)?;
        }
        Ok(())
    }
}
