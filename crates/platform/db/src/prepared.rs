//! Statements kept prepared.

use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

/// A statement that the connection keeps prepared; created by [`Prepare::prepared`].
#[derive(Debug, Clone, Copy)]
pub struct Prepared<S>(S);

/// Lets a statement stay prepared.
pub trait Prepare: Sized {
    /// Keeps the statement prepared for the next time. Diesel does so by itself for statements with a known text, but
    /// never for UPDATEs, upserts and SQL as text, though SQLite prepares longer than it runs.
    ///
    /// Use this only for statements with a constant text: the connection keeps each text. Run the statement by a
    /// method that reads rows (`get_result`, `load`): `execute` prepares anew, because diesel then passes a
    /// reference, and a reference loses the mark.
    fn prepared(self) -> Prepared<Self> {
        Prepared(self)
    }
}

impl<S> Prepare for S {}

impl<S: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for Prepared<S> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<S> QueryId for Prepared<S> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S: Query> Query for Prepared<S> {
    type SqlType = S::SqlType;
}

impl<S, C> RunQueryDsl<C> for Prepared<S> {}

/// Inserts each of `rows`, a `Vec`:
/// `insert_each!(conn, rows, |values| diesel::insert_into(…).values(values)… .returning(…))`. The returned values
/// come in no particular order.
///
/// PostgreSQL takes all rows in one statement; keep `rows` below the 65,535 values of a statement. SQLite, an
/// in-process library, takes row by row with a prepared statement: a statement of several rows would be prepared anew
/// each time, slower than the inserts.
#[macro_export]
macro_rules! insert_each {
    ($conn:expr, $rows:expr, |$values:ident| $insert:expr) => {
        match $conn {
            $crate::Conn::Pg(conn) => {
                let $values = $rows;
                $crate::diesel::RunQueryDsl::get_results($insert, conn)
            }
            $crate::Conn::Sqlite(conn) => {
                let mut all = Vec::with_capacity($rows.len());
                $rows
                    .into_iter()
                    .try_for_each(|$values| {
                        let insert = $crate::Prepare::prepared($insert);
                        all.append(&mut $crate::diesel::RunQueryDsl::get_results(insert, conn)?);
                        $crate::diesel::QueryResult::Ok(())
                    })
                    .map(|()| all)
            }
        }
    };
}
