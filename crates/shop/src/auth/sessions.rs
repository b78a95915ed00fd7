//! Live sessions.

use std::time::Duration;

use db::Database;
use member::SessionId;

use crate::cache::Recent;
use crate::http::kinds;
use crate::http::problem::Problem;

/// Maximum delay until another process knows of a revocation. This process knows at once.
const UNNOTICED: Duration = Duration::from_secs(5);

/// Cache of live sessions; reads the database for unknown or old entries.
pub struct Sessions {
    db: Database,
    live: Recent<SessionId, bool>,
}

impl Sessions {
    /// Wraps the sessions of `db`.
    pub fn new(db: Database) -> Self {
        Self { db, live: Recent::new(UNNOTICED, 100_000) }
    }

    /// # Errors
    /// `unauthenticated` when the session was ended.
    pub async fn check(&self, session: SessionId) -> Result<(), Problem> {
        let read = self.db.read(move |conn| member::session_is_live(conn, session));
        let live = self.live.get_or_read(session, read).await?;
        let ended = || Problem::new(&kinds::UNAUTHENTICATED).detail("the session has ended");
        live.then_some(()).ok_or_else(ended)
    }

    /// Forgets a revoked session.
    pub fn forget(&self, session: SessionId) {
        self.live.forget(session);
    }

    /// Forgets all entries after a revocation of unknown sessions.
    pub fn forget_all(&self) {
        self.live.forget_all();
    }
}
