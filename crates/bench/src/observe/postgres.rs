//! Counts of PostgreSQL, read by psql before and after a window, and databases for one run.

use std::collections::HashMap;
use std::process::Command;

use uuid::Uuid;

use super::process;

/// Runs one program of PostgreSQL's own and returns its output.
///
/// # Panics
/// If the program fails or is missing.
pub(crate) fn program(name: &str, arguments: &[&str]) -> String {
    let folder = Command::new("pg_config").arg("--bindir").output().expect("pg_config");
    let program = format!("{}/{name}", String::from_utf8_lossy(&folder.stdout).trim());
    let ran = Command::new(program).args(arguments).output().expect(name);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}

fn query(url: &str, sql: &str) -> String {
    let options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"];
    program("psql", &[&options[..], &["--command", sql, url]].concat()).trim().to_owned()
}

/// Empty database for one run, dropped at the end.
pub(crate) struct Fresh {
    server: String,
    name: String,
    pub url: String,
}

impl Fresh {
    /// Makes a database on the server of `server`, the URL of any database there.
    ///
    /// # Panics
    /// If the server refuses.
    pub(crate) fn create(server: &str) -> Self {
        let name = format!("jangteo_bench_{}", Uuid::new_v4().simple());
        query(server, &format!("CREATE DATABASE {name}"));
        let (rest, options) = server.split_once('?').map_or((server, None), |(rest, options)| (rest, Some(options)));
        let host = rest.rsplit_once('/').filter(|(host, _)| host.contains("://") && !host.ends_with('/'));
        let host = host.map_or(rest, |(host, _)| host);
        let url = format!("{host}/{name}{}", options.map(|options| format!("?{options}")).unwrap_or_default());
        Self { server: server.into(), name, url }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let name = &self.name;
        // a relay that was ended may still hold its replication slot for a moment
        let slots = format!("FROM pg_replication_slots WHERE database = '{name}'");
        query(&self.server, &format!("SELECT pg_terminate_backend(active_pid) {slots} AND active"));
        query(&self.server, &format!("SELECT pg_drop_replication_slot(slot_name) {slots} AND NOT active"));
        query(&self.server, &format!("DROP DATABASE {name} WITH (FORCE)"));
    }
}

/// Server observed through one database.
pub(crate) struct Postgres {
    url: String,
    port: String,
    /// Process of the server, if it runs on this machine and tells.
    id: Option<u32>,
    /// SQL for the number of fsyncs of the WAL.
    fsyncs: &'static str,
    /// SQL for the number of statements.
    statements: &'static str,
}

impl Postgres {
    /// Observes the server of a database. Statements are counted where pg_stat_statements is loaded.
    ///
    /// # Panics
    /// If the server does not answer.
    pub(crate) fn of(url: &str) -> Self {
        let known = query(
            url,
            "SELECT current_setting('server_version_num')::integer >= 180000,
                    current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%', inet_server_port(),
                    CASE WHEN pg_has_role('pg_read_server_files', 'USAGE')
                         THEN split_part(pg_read_file('postmaster.pid'), E'\\n', 1) END",
        );
        let known: Vec<&str> = known.split('|').collect();
        let statements = if known[1] == "t" {
            query(url, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
            "SELECT sum(calls) FROM pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        } else {
            "SELECT NULL"
        };
        let fsyncs = if known[0] == "t" {
            "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
        } else {
            "SELECT wal_sync FROM pg_stat_wal"
        };
        let id = known[3].parse().ok().filter(|id| process::is_named(*id, "postgres"));
        Self { url: url.into(), port: known[2].into(), id, fsyncs, statements }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.id
    }

    pub(super) fn counts(&self) -> Counts {
        let (fsyncs, statements) = (self.fsyncs, self.statements);
        let row = query(
            &self.url,
            &format!(
                "SELECT (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()),
                        ({statements}), ({fsyncs}), pg_current_wal_insert_lsn() - '0/0'"
            ),
        );
        let mut counts = row.split('|').map(|count| count.parse().ok());
        let mut next = || counts.next().flatten();
        let server = [next(), next(), next(), next()];
        Counts { server, requests: requests(&self.port) }
    }
}

/// Counts since the server began, or in a window.
///
/// Inexactness: a busy connection reports transactions and fsyncs once a second.
pub(crate) struct Counts {
    /// Transactions, statements, fsyncs of the WAL, bytes of WAL.
    server: [Option<f64>; 4],
    /// Data segments that clients sent, by their ports: one for each round trip.
    requests: Option<HashMap<String, f64>>,
}

impl Counts {
    pub(super) fn since(&self, before: &Self) -> Self {
        let server = std::array::from_fn(|n| Some(self.server[n]? - before.server[n]?));
        let earlier = before.requests.as_ref();
        let sent = |port: &String, now: f64| now - earlier.and_then(|all| all.get(port)).unwrap_or(&0.0);
        let requests = self.requests.as_ref().map(|all| all.iter().map(|(port, now)| (port.clone(), sent(port, *now))));
        Self { server, requests: requests.map(Iterator::collect) }
    }

    /// Returns the known counts, with names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let [transactions, statements, fsyncs, bytes] = self.server;
        let round_trips = self.requests.as_ref().map(|all| all.values().sum());
        [
            ("transactions", transactions),
            ("statements", statements),
            ("round trips", round_trips),
            ("fsyncs", fsyncs),
            ("WAL bytes", bytes),
        ]
        .into_iter()
        .filter_map(|(name, count)| Some((name, count?)))
    }
}

/// Asks `ss` for the segments that the clients of a port on this machine have sent. Replication is no client: a relay that
/// decodes the WAL sends only its progress.
fn requests(port: &str) -> Option<HashMap<String, f64>> {
    let ran = Command::new("ss").args(["-Htin", "state", "established", &format!("dport = :{port}")]).output().ok()?;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut sent = HashMap::new();
    let mut client = None;
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            client = line.split_whitespace().nth(2).map(str::to_owned);
        } else if let (Some(client), Some((_, rest))) = (client.take(), line.split_once("data_segs_out:")) {
            let count = rest.split(' ').next().and_then(|count| count.parse().ok());
            sent.insert(client, count.unwrap_or(0.0));
        }
    }
    Some(sent)
}
