//! The names of all metrics, with what they tell.
//!
//! Durations are in seconds. Gauges are set by whoever watches the database; a process that doesn't has none.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// How long a request took, by `route` (the pattern, not the path), `method` and `status`.
pub const HTTP_REQUESTS_SECONDS: &str = "http_requests_seconds";
/// Events written to the log, by `topic`.
pub const EVENT_LOG_EVENTS: &str = "event_log_events_total";
/// Events kept in the log, by `topic`.
pub const EVENT_LOG_DEPTH: &str = "event_log_depth";
/// How old the oldest event is that a group has still to handle, by `topic`.
pub const EVENT_LOG_AGE_SECONDS: &str = "event_log_age_seconds";
/// Events that wait for their position (PostgreSQL).
pub const OUTBOX_DEPTH: &str = "outbox_depth";
/// How old the oldest of them is.
pub const OUTBOX_AGE_SECONDS: &str = "outbox_age_seconds";
/// Events that a group has still to handle, by `group`, `topic` and `partition`.
pub const CONSUMER_LAG: &str = "consumer_lag";
/// Events that a group is done with, by `group` and `outcome`: one of [`outcome`].
pub const CONSUMER_EVENTS: &str = "consumer_events_total";
/// From the commit of an event to a group having handled it, by `group`.
pub const CONSUMER_DELAY_SECONDS: &str = "consumer_delay_seconds";
/// Times a bus left events out and they were read from the log instead, by `group`: an alarm.
pub const BUS_GAPS: &str = "bus_gaps_total";
/// Records that were read from a bus and skipped, for they are no events, by `topic`. One that is read again counts again.
pub const BUS_SKIPPED: &str = "bus_records_skipped_total";
/// Units of work in one commit of SQLite's group writer.
pub const WRITER_GROUP_UNITS: &str = "writer_group_units";

/// The values of `outcome` in [`CONSUMER_EVENTS`].
pub mod outcome {
    /// Done.
    pub const HANDLED: &str = "handled";
    /// An attempt failed; it is tried again.
    pub const FAILED: &str = "failed";
    /// Put behind a dead letter of its key.
    pub const PARKED: &str = "parked";
    /// Became a dead letter.
    pub const DEAD: &str = "dead";
}

/// Upper bounds of the buckets of durations, in seconds: from a read out of memory to what a client gives up on.
pub(crate) const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the buckets of group sizes, in units of work.
pub(crate) const UNITS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Gives each metric its help text.
pub(crate) fn describe() {
    describe_histogram!(HTTP_REQUESTS_SECONDS, Unit::Seconds, "How long requests took.");
    describe_counter!(EVENT_LOG_EVENTS, Unit::Count, "Events written to the log.");
    describe_gauge!(EVENT_LOG_DEPTH, Unit::Count, "Events kept in the log.");
    describe_gauge!(EVENT_LOG_AGE_SECONDS, Unit::Seconds, "Age of the oldest event that a group has still to handle.");
    describe_gauge!(OUTBOX_DEPTH, Unit::Count, "Events that wait for their position in the log.");
    describe_gauge!(OUTBOX_AGE_SECONDS, Unit::Seconds, "Age of the oldest event that waits for its position.");
    describe_gauge!(CONSUMER_LAG, Unit::Count, "Events that a group has still to handle.");
    describe_counter!(CONSUMER_EVENTS, Unit::Count, "Events by what became of them in a group.");
    describe_histogram!(CONSUMER_DELAY_SECONDS, Unit::Seconds, "From an event's commit to its having been handled.");
    describe_counter!(BUS_GAPS, Unit::Count, "Gaps in what a bus delivered, repaired from the log.");
    describe_counter!(BUS_SKIPPED, Unit::Count, "Records on a bus that are no events, and were skipped.");
    describe_histogram!(WRITER_GROUP_UNITS, Unit::Count, "Units of work in one commit of the SQLite writer.");
}
