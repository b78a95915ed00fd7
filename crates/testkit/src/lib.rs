//! What tests stand on: fresh databases of each kind, and the servers behind them.
//!
//! Whatever needs a server that is not to be had is left out with a line that says so (`not run: PostgreSQL …`), or
//! fails when `TEST_SERVERS_REQUIRED=1`.

pub mod conformance;
mod databases;
mod postgres;

pub use databases::{Place, TestDatabase, databases, databases_with, places};
pub use postgres::PgServer;
