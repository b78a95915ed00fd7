//! Statements that stay prepared.

use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

/// A statement that the connection keeps prepared; made by [`Prepare::prepared`].
#[derive(Debug, Clone, Copy)]
pub struct Prepared<S>(S);

/// Lets a statement stay prepared.
pub trait Prepare: Sized {
    /// Keeps the statement prepared for the next time. Diesel itself does so with what it knows to be of one text;
    /// it never does with UPDATEs, upserts and SQL as text, though preparing takes SQLite longer than running them.
    ///
    /// Only for statements whose text is the same each time: the connection keeps each text it meets. It must be run
    /// by what reads rows (`get_result`, `load`): `execute` prepares anew all the same, for diesel hands the
    /// connection a reference there, and references forget that the statement is to be kept.
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

/// Inserts each of `rows`, a `Vec`: `insert_each!(conn, rows, |values| diesel::insert_into(…).values(values)…
/// .returning(…))`. What they return comes in no particular order.
///
/// PostgreSQL takes them in one statement; keep `rows` below the 65,535 values that it can bind. SQLite, where a
/// statement is a mere call, takes them one by one, with a statement that stays prepared: one of several rows would be
/// prepared anew each time, and that takes longer than running it.
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
