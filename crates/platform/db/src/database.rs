//! The database, whichever it is.
use crate::{Conn, Error, Tx};

/// A handle; clones share the database.
#[derive(Clone)]
pub struct Database {}

impl Database {
    /// One transaction: all that `unit` does, and the events it stages, or nothing.
    ///
    /// `unit` may run more than once (see the crate's doc), so it is `Fn` and must only act on the database.
    ///
    /// # Errors
    /// The error of `unit`, after which everything is rolled back, or one of this crate's.
    pub async fn write<T, E>(&self, unit: impl Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let _ = unit;
        unimplemented!()
    }

    /// A snapshot that `query` reads from.
    ///
    /// # Errors
    /// The error of `query`, or one of this crate's.
    pub async fn read<T, E>(&self, query: impl Fn(&mut Conn) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let _ = query;
        unimplemented!()
    }
}
