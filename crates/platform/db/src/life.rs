//! Lives of the storage. A process's knowledge of a database holds for one life: in the next life the database may
//! have lost commits.

use std::fmt;

use uuid::Uuid;

/// One uninterrupted life of the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Life of a server. A server that restarts by itself after a crash keeps the life.
    Server {
        /// Start, in microseconds. Changes with a restart, a failover and a snapshot.
        start: i64,
        /// Object id. Changes for a database made from a copy.
        database: i64,
        /// File of the table that the recorder [names](crate::Recorder::witness). Changes with the restore of a dump;
        /// 0 without a table.
        file: i64,
    },
    /// Life of SQLite: from the opening of the file to the close.
    Run(Uuid),
}

impl Life {
    /// Returns the file of the table that the recorder names; 0 without one.
    pub fn file(&self) -> i64 {
        match self {
            Self::Server { file, .. } => *file,
            Self::Run(_) => 0,
        }
    }

    /// Returns SQL for the columns `start`, `database` and `file` of a life. `witness` is the name of a table.
    pub(crate) fn columns(witness: Option<&str>) -> String {
        let file =
            witness.map_or("0".into(), |table| format!("coalesce(pg_relation_filenode(to_regclass('{table}')), 0)"));
        format!(
            "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS start, \
             (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database, {file}::bigint AS file"
        )
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { start, database, file } => write!(f, "{start}/{database}/{file}"),
            Self::Run(run) => run.fmt(f),
        }
    }
}
