//! List of all metrics. A metric that is not in the list cannot be recorded, because only this crate depends on `metrics`.
//!
//! Durations are in seconds and sizes in bytes. Names follow <https://prometheus.io/docs/practices/naming/>.

use metrics::Unit;

use super::handle::{Counter, Gauge, Histogram, Kind, Metric, Program};

/// Declares a constant for each metric, and [`ALL`].
macro_rules! metrics {
    ($($kind:ident $id:ident = $name:literal [$($label:literal),*] $unit:ident, $($program:ident)|+: $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: $kind<{ <[&str]>::len(&[$($label),*]) }> = $kind { name: $name, labels: [$($label),*] };
        )*

        /// All metrics of all programs.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            unit: Unit::$unit,
            programs: &[$(Program::$program),+],
            help: $help,
        }),*];
    };
}

metrics! {
    Gauge BUILD_INFO = "build_info" ["program", "version", "commit"] Count, Shop | Relay | Worker | Proxy:
        "Version of the program and commit that it was built from; always 1.";
    Histogram HTTP_REQUESTS_SECONDS = "http_requests_seconds" ["route", "method", "status"] Seconds, Shop | Proxy:
        "Duration of requests, by the pattern of the route.";

    Counter SIGN_IN_FAILURES = "sign_in_failures_total" [] Count, Shop:
        "Sign-ins with a wrong e-mail address or password.";

    Counter EVENT_LOG_EVENTS = "event_log_events_total" ["topic"] Count, Shop | Relay | Worker | Proxy:
        "Events that this process appended to the event log.";
    Gauge EVENT_LOG_DEPTH = "event_log_depth" ["topic"] Count, Shop | Relay: "Events kept in the event log.";
    Gauge EVENT_LOG_AGE_SECONDS = "event_log_age_seconds" ["topic"] Seconds, Shop | Relay:
        "Age of the oldest event that a group has still to handle.";

    Gauge CONSUMER_LAG = "consumer_lag" ["group", "topic", "partition"] Count, Shop | Relay | Worker | Proxy:
        "Events that a group has still to handle.";
    Gauge CONSUMER_PAUSED_SECONDS = "consumer_paused_seconds" ["group", "topic", "partition"] Seconds,
        Shop | Relay | Worker | Proxy:
        "Time since the group paused the partition because something fails or hangs; 0 once it goes on.";
    Counter CONSUMER_EVENTS = "consumer_events_total" ["group", "outcome"] Count, Shop | Relay | Worker | Proxy:
        "Events of a group by outcome: handled, failed (and tried again), parked (behind a dead letter) or dead.";
    Histogram CONSUMER_DELAY_SECONDS = "consumer_delay_seconds" ["group"] Seconds, Shop | Relay | Worker | Proxy:
        "Time from the commit of an event until a group has handled the event.";
    Counter BUS_GAPS = "bus_gaps_total" ["group", "topic", "reason"] Count, Shop | Worker:
        "Gaps in the events that a bus delivered, filled from the event log: lost by the bus, late, or the client was deaf.";
    Counter BUS_ORPHANS = "bus_orphans_total" ["group", "topic"] Count, Shop | Relay | Worker | Proxy:
        "Events on a bus that the log has lost in a failover or a restore, dropped; an event that is read again counts again.";
    Counter BUS_SKIPPED = "bus_records_skipped_total" ["topic"] Count, Shop | Worker:
        "Records on a bus that are no events and were skipped; a record that is read again counts again.";

    Gauge KAFKA_SILENT_SECONDS = "kafka_silent_seconds" ["client"] Seconds, Shop | Relay | Worker | Proxy:
        "Time since a client (`group settlement`, `producer`) last heard from Kafka; some seconds at most if all is well.";
    Counter KAFKA_CLIENTS_REPLACED = "kafka_clients_replaced_total" ["client"] Count, Shop | Relay | Worker | Proxy:
        "Kafka clients that heard nothing, each replaced by another client.";
    Counter NOTIFICATION_REFUSED = "notification_refused_total" ["channel"] Count, Shop | Worker:
        "Notifications that were refused for good for their recipient, and are not sent again.";

    Histogram WRITER_GROUP_UNITS = "writer_group_units" [] Count, Shop | Proxy:
        "Units of work in one commit of the SQLite writer.";

    Gauge EVENT_PROXY_READY = "event_proxy_ready" [] Count, Proxy:
        "1 while the proxy accepts events, otherwise 0.";
    Gauge EVENT_PROXY_KAFKA_UP = "event_proxy_kafka_up" [] Count, Proxy:
        "1 while Kafka answers, otherwise 0; absent if events do not go to Kafka.";
    Gauge EVENT_PROXY_LOG_BYTES = "event_proxy_log_bytes" [] Bytes, Proxy:
        "Size of the undelivered events in the log, refused events included.";
    Gauge EVENT_PROXY_LOG_LIMIT_BYTES = "event_proxy_log_limit_bytes" [] Bytes, Proxy:
        "Maximum size of undelivered events (log_limit.max_bytes).";
    Gauge EVENT_PROXY_LOG_AGE_SECONDS = "event_proxy_log_age_seconds" [] Seconds, Proxy:
        "Age of the oldest undelivered event; 0 without one.";
    Gauge EVENT_PROXY_LOG_AGE_LIMIT_SECONDS = "event_proxy_log_age_limit_seconds" [] Seconds, Proxy:
        "Maximum age of undelivered events (log_limit.max_age).";
    Counter EVENT_PROXY_REFUSED_EVENTS = "event_proxy_refused_events_total" ["service", "reason"] Count, Proxy:
        "Events that were not accepted, by code of the problem; service is `other` for services without a topic.";
    Counter EVENT_PROXY_DEAD_LETTERS = "event_proxy_dead_letters_total" ["topic"] Count, Proxy:
        "Events that became dead letters because Kafka refused every attempt.";
    Gauge EVENT_PROXY_REFUSED_TOPICS = "event_proxy_refused_topics" [] Count, Proxy:
        "Topics that Kafka refuses to make.";
    Counter EVENT_PROXY_WRONG_PASSWORDS = "event_proxy_wrong_passwords_total" [] Count, Proxy:
        "Wrong passwords of the admin, on the pages and the API.";

    Gauge STORAGE_UNWRITABLE = "storage_unwritable" ["database", "reason"] Count, Shop | Relay | Worker | Proxy:
        "1 while writes to the database fail for this reason, otherwise 0.";

    Gauge DATA_DIR_AVAILABLE_BYTES = "data_dir_available_bytes" [] Bytes, Shop | Relay | Worker | Proxy:
        "Space that is available on the file system of data_dir; absent while the folder is missing.";
    Gauge DATA_DIR_SIZE_BYTES = "data_dir_size_bytes" [] Bytes, Shop | Relay | Worker | Proxy:
        "Size of the file system of data_dir.";

    Counter PROCESS_CPU_SECONDS = "process_cpu_seconds_total" [] Seconds, Shop | Relay | Worker | Proxy:
        "User and system CPU time of the process.";
    Gauge PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes" [] Bytes, Shop | Relay | Worker | Proxy:
        "Resident memory of the process.";
    Gauge PROCESS_VIRTUAL_MEMORY_BYTES = "process_virtual_memory_bytes" [] Bytes, Shop | Relay | Worker | Proxy:
        "Virtual memory of the process.";
    Gauge PROCESS_VIRTUAL_MEMORY_MAX_BYTES = "process_virtual_memory_max_bytes" [] Bytes, Shop | Relay | Worker | Proxy:
        "Maximum virtual memory of the process; 0 without a limit.";
    Gauge PROCESS_OPEN_FDS = "process_open_fds" [] Count, Shop | Relay | Worker | Proxy:
        "Open file descriptors of the process.";
    Gauge PROCESS_MAX_FDS = "process_max_fds" [] Count, Shop | Relay | Worker | Proxy:
        "Maximum number of open file descriptors of the process.";
    Gauge PROCESS_THREADS = "process_threads" [] Count, Shop | Relay | Worker | Proxy:
        "Threads of the process.";
    Gauge PROCESS_START_TIME_SECONDS = "process_start_time_seconds" [] Seconds, Shop | Relay | Worker | Proxy:
        "Start time of the process, in seconds since 1970.";
}

/// Values of the label `outcome` of [`CONSUMER_EVENTS`].
pub mod outcome {
    /// Done.
    pub const HANDLED: &str = "handled";
    /// An attempt failed; the event is tried again.
    pub const FAILED: &str = "failed";
    /// Event parked behind a dead letter of the key.
    pub const PARKED: &str = "parked";
    /// Became a dead letter.
    pub const DEAD: &str = "dead";
}
