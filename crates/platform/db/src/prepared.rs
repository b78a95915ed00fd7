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
    /// Only for statements whose text is the same each time: the connection keeps each text it meets.
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
