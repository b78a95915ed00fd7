//! Connections, units of work, and every difference between SQLite and PostgreSQL.
//!
//! [`Database::write`] is one transaction, [`Database::read`] a snapshot. Both take synchronous closures for a
//! database thread, so that no await happens inside a transaction.

mod answer;
mod check;
mod clock;
mod conn;
mod database;
mod error;
mod faults;
mod flusher;
mod grouped;
mod job;
mod life;
mod listen;
mod migrate;
mod pool;
mod postgres;
mod prepared;
mod probe;
mod progress;
mod sqlite;
mod sqlite_file;
mod storage;
pub mod text;
pub mod types;
mod unit;

pub use answer::durable;
pub use check::{check_folder, check_url};
pub use clock::now;
pub use conn::{Conn, MultiBackend};
pub use database::{Database, Options};
pub use diesel;
pub use error::{Error, Result};
pub use flusher::IsThere;
pub use grouped::Grouped;
pub use job::panic_text;
pub use life::Life;
pub use listen::{Heard, Listener};
pub use migrate::Migrations;
pub use prepared::{Prepare, Prepared};
pub use storage::{Reason, StorageFault};
pub use unit::{AfterCommit, Recorded, Recorder, Staged, Tx};
