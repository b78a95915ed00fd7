//! The database's clock.

use diesel::prelude::*;

use crate::types::{Time, UtcTime};
use crate::{Conn, Result};

/// Returns the database's time: on SQLite this process's clock, because there is one process; on PostgreSQL the start
/// of the transaction.
///
/// # Errors
/// Any error of the database.
pub fn now(conn: &mut Conn) -> Result<Time> {
    match conn {
        Conn::Sqlite(_) => Ok(Time::now()),
        Conn::Pg(conn) => Ok(diesel::select(diesel::dsl::sql::<UtcTime>("transaction_timestamp()")).get_result(conn)?),
    }
}
