//! The connection: one type over both databases.

use diesel::{PgConnection, SqliteConnection};

/// A connection to either database; queries written in diesel's language run on both.
///
/// Statements beyond the multi-backend (on-conflict, inserting a `Vec`, row locks, different raw SQL) go through
/// [`on_each!`](crate::on_each).
#[derive(diesel::MultiConnection)]
pub enum Conn {
    /// Database of many processes.
    Pg(PgConnection),
    /// Database of one process. Last, because SQLite takes any text for a file name.
    Sqlite(SqliteConnection),
}

impl Conn {
    /// Returns true for PostgreSQL, for the few statements with two texts.
    pub fn is_pg(&self) -> bool {
        matches!(self, Self::Pg(_))
    }
}

/// Runs the same expression on the concrete connection: `on_each!(conn, |c| diesel::insert_into(…).execute(c))`.
///
/// `conn` is a `&mut Conn`.
#[macro_export]
macro_rules! on_each {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::Conn::Pg($c) => $body,
            $crate::Conn::Sqlite($c) => $body,
        }
    };
}
