//! Environment of tests: fresh databases of each kind, and the servers behind them.
//!
//! Tests without an available server are left out with a line such as `not run: PostgreSQL …`, or fail with
//! `TEST_SERVERS_REQUIRED=1`.

mod again;
pub mod conformance;
mod databases;
mod description;
mod http;
mod kafka;
mod no_http;
mod postgres;

use std::io::Write;

use parking_lot::Mutex;

pub use again::again_with;
pub use databases::{
    Place, TestDatabase, cluster_of, combinations, database_on, databases, databases_with, on_kafka, places,
};
pub use description::Description;
pub use http::{Http, Request};
pub use kafka::{kafka, kafka_place, kafka_with};
pub use no_http::{is_one_problem, no_http};
pub use postgres::PgServer;

/// Prints once that tests of `server` are left out.
///
/// # Panics
/// If `TEST_SERVERS_REQUIRED=1`.
fn left_out(server: &'static str, reason: &str) {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let required = std::env::var("TEST_SERVERS_REQUIRED").as_deref() == Ok("1");
    assert!(!required, "{server}: {reason}, and TEST_SERVERS_REQUIRED=1");
    let mut said = SAID.lock();
    if !said.contains(&server) {
        said.push(server);
        // past the test's captured output
        drop(writeln!(std::io::stderr(), "not run: {server}: {reason}"));
    }
}
