//! Types of the list: a metric's description, and the handles that record its values.

use std::fmt;

use metrics::{Key, Label, Level, Metadata, SharedString, Unit, describe_counter, describe_gauge, describe_histogram};

/// Description of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub unit: Unit,
    /// Programs with the metric.
    pub programs: &'static [Program],
    pub help: &'static str,
}

impl Metric {
    /// Registers unit and help text of the metric.
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram => describe_histogram!(self.name, self.unit, self.help),
        }
    }
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// Kind of program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Shop,
    Relay,
    /// Any worker but the relay.
    Worker,
    Proxy,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shop => "shop",
            Self::Relay => "outbox-relay",
            Self::Worker => "other workers",
            Self::Proxy => "event-proxy",
        })
    }
}

/// Declares a kind of metric with `N` labels.
macro_rules! kind {
    ($kind:ident, $register:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub struct $kind<const N: usize> {
            pub name: &'static str,
            pub(super) labels: [&'static str; N],
        }

        impl<const N: usize> $kind<N> {
            /// Returns the time series with these values of the labels, in the order of the list.
            pub fn of(&self, values: [SharedString; N]) -> metrics::$kind {
                const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);
                let labels = self.labels.into_iter().zip(values).map(|(name, value)| Label::new(name, value));
                let key = Key::from_parts(self.name, labels.collect::<Vec<_>>());
                metrics::with_recorder(|recorder| recorder.$register(&key, &METADATA))
            }
        }
    };
}

kind!(Counter, register_counter, "Number that only rises; its name ends in `_total`.");
kind!(Gauge, register_gauge, "Value that rises and falls.");
kind!(Histogram, register_histogram, "Distribution of values in buckets.");
