//! A PostgreSQL server for tests: the server of `TEST_DATABASE_URL`, or a new server from the system's programs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Integer, Nullable};
use diesel::{Connection, PgConnection, RunQueryDsl};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::left_out;

/// Prefix of the name of each test database on a server.
const PREFIX: &str = "jangteo_test_";

/// A server for test databases; one a process.
pub(crate) struct Server {
    /// URL without the database's name: `postgres://user:password@host:port`, and the part after the name.
    base: String,
    suffix: String,
    /// Database to connect to for creating databases.
    maintenance: String,
    /// Password of a server started here; empty for a given server.
    password: String,
    port: u16,
    /// Template, created at the first use and copied for each test. Absent on a server that outlives the process.
    template: Option<OnceCell<String>>,
    /// Keeps our own server alive.
    watchdog: Option<Watchdog>,
}

/// The script that runs the server, as long as the script's standard input stays open.
struct Watchdog {
    process: Child,
    output: BufReader<ChildStdout>,
}

/// Returns the server of this process, started at the first call; or the reason for having none. Blocks during the
/// start.
pub(crate) fn server() -> Result<&'static Server, &'static str> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    SERVER.get_or_init(Server::find).as_ref().map_err(String::as_str)
}

/// A database for one test; dropped with this value.
pub(crate) struct PgDatabase {
    server: &'static Server,
    name: String,
}

impl Server {
    fn find() -> Result<Self, String> {
        match std::env::var("TEST_DATABASE_URL") {
            Ok(url) if !url.is_empty() => Self::given(&url),
            _ => Self::start(None, None),
        }
    }

    fn given(url: &str) -> Result<Self, String> {
        let (base, maintenance, suffix) =
            split(url).ok_or("TEST_DATABASE_URL is no postgres://user:password@host:port/database")?;
        let server =
            Self { base, suffix, maintenance, password: String::new(), port: 0, template: None, watchdog: None };
        server.execute("SELECT 1").map_err(|e| format!("the server of TEST_DATABASE_URL: {e}"))?;
        Ok(server)
    }

    /// Starts a server in a temporary folder, on a free port of the loopback address, with messages in `language`; a
    /// standby if `primary` is given.
    fn start(language: Option<&str>, primary: Option<&Self>) -> Result<Self, String> {
        let programs =
            programs().ok_or("no initdb found (set TEST_DATABASE_URL or PG_BINDIR, or install PostgreSQL's server)")?;
        let mut reason = String::new();
        for _ in 0..3 {
            // the port may be taken between our look and the server's
            match Self::start_once(&programs, language, primary) {
                Ok(server) => return Ok(server),
                Err(e) => reason = e,
            }
        }
        Err(format!("{} did not start: {reason}", programs.display()))
    }

    fn start_once(programs: &Path, language: Option<&str>, primary: Option<&Self>) -> Result<Self, String> {
        let text = |e: std::io::Error| e.to_string();
        let folder = tempfile::Builder::new().prefix("jangteo-pg-").tempdir().map_err(text)?;
        // a standby has the roles of its primary
        let password = primary.map_or_else(|| Uuid::new_v4().simple().to_string(), |primary| primary.password.clone());
        fs::write(folder.path().join("password"), &password).map_err(text)?;
        let port = free_port().map_err(text)?;

        let mut command = Command::new("sh");
        command.args(["-c", include_str!("postgres.sh"), "postgres.sh"]).arg(folder.path()).arg(programs);
        let options = if language.is_some() { "-c lc_messages=C.UTF-8" } else { "" };
        let primary = primary.map_or_else(String::new, |primary| primary.port.to_string());
        command.args([port.to_string(), options.to_owned(), primary]).env_remove("PGDATA").env_remove("PGPORT");
        if let Some(language) = language {
            // gettext reads the variable in every locale but C
            command.env("LANGUAGE", language);
        }
        // a group of its own: an interrupt at the terminal must not reach it before the tests are gone
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if fs::metadata(folder.path()).map_err(text)?.uid() == 0 {
            let (user, group) = unprivileged().ok_or("the server refuses root, and there is no other user to take")?;
            chown(folder.path(), Some(user), Some(group)).map_err(text)?;
            chown(folder.path().join("password"), Some(user), Some(group)).map_err(text)?;
            command.uid(user).gid(group);
        }
        let mut process = command.spawn().map_err(text)?;
        let _ = folder.keep(); // from here on the script's
        let output = await_ready(&mut process)?;
        Ok(Self {
            base: format!("postgres://postgres:{password}@127.0.0.1:{port}"),
            suffix: String::new(),
            maintenance: "postgres".into(),
            password,
            port,
            template: Some(OnceCell::new()),
            watchdog: Some(Watchdog { process, output }),
        })
    }

    fn url(&self, database: &str) -> String {
        format!("{}/{database}{}", self.base, self.suffix)
    }

    fn execute(&self, sql: &str) -> Result<(), String> {
        let mut conn = PgConnection::establish(&self.url(&self.maintenance)).map_err(|e| e.to_string())?;
        conn.batch_execute(sql).map_err(|e| e.to_string())
    }

    /// Creates an empty database.
    ///
    /// # Panics
    /// If the server says no.
    pub(crate) fn create(&'static self, template: Option<&str>) -> PgDatabase {
        let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let template = template.unwrap_or("template0");
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).expect("a database for the test");
        PgDatabase { server: self, name }
    }

    /// Returns the name of the database to copy, made by `migrate` from a URL; `None` to start from an empty
    /// database.
    pub(crate) async fn template(&'static self, migrate: impl AsyncFnOnce(String)) -> Option<&'static str> {
        let template = self.template.as_ref()?;
        let name = template.get_or_init(|| async {
            let database = self.create(None);
            migrate(database.url()).await;
            let name = database.name.clone();
            std::mem::forget(database); // goes with the server
            name
        });
        Some(name.await.as_str())
    }
}

impl PgDatabase {
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }
}

impl Drop for PgDatabase {
    fn drop(&mut self) {
        // FORCE, for the pools of a test that failed are still there; the test's own failure matters more than ours
        let _ = self.server.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// A PostgreSQL server for one test alone, to be stopped and started. `None` if the machine can't start a server.
///
/// The server ends with this value.
pub struct PgServer(Server);

impl PgServer {
    /// Starts a server; blocks during the start.
    ///
    /// # Panics
    /// If the server does not start and `TEST_SERVERS_REQUIRED=1`.
    pub fn start() -> Option<Self> {
        Server::start(None, None).map_err(|reason| left_out("PostgreSQL", &reason)).map(Self).ok()
    }

    /// Starts a server like [`start`](Self::start), with messages in a language such as `ko`. `None` also if
    /// PostgreSQL lacks the language.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_speaking(language: &str) -> Option<Self> {
        let server = Server::start(Some(language), None).map_err(|reason| left_out("PostgreSQL", &reason)).ok()?;
        let complaint = server.execute("SELECT nothing FROM nowhere").err().unwrap_or_default();
        let speaks = !complaint.is_ascii();
        if !speaks {
            eprintln!("not run: PostgreSQL has no messages in the language {language}");
        }
        speaks.then_some(Self(server))
    }

    /// Starts a standby of this server. Blocks during the start.
    ///
    /// # Panics
    /// If the standby does not start.
    pub fn standby(&self) -> Self {
        Self(Server::start(None, Some(&self.0)).expect("a standby starts"))
    }

    /// Waits until a standby has all of the primary's data.
    ///
    /// # Panics
    /// If a server does not answer.
    pub fn follow_to_the_end_of(&self, primary: &Self) {
        let wal: String = {
            let mut conn = PgConnection::establish(&primary.url()).expect("a connection");
            let end = diesel::dsl::sql::<diesel::sql_types::Text>("SELECT pg_current_wal_flush_lsn()::text");
            end.get_result(&mut conn).expect("the end")
        };
        let mut conn = PgConnection::establish(&self.url()).expect("a connection");
        let is_there = format!("SELECT 1 / (pg_last_wal_replay_lsn() >= '{wal}')::integer");
        while conn.batch_execute(&is_there).is_err() {}
    }

    /// Returns true if PostgreSQL has the programs for dumps.
    pub fn can_dump() -> bool {
        let can = programs().is_some_and(|programs| programs.join("pg_restore").is_file());
        if !can {
            eprintln!("not run: PostgreSQL has no pg_restore");
        }
        can
    }

    /// Writes a dump of the only database to a file.
    ///
    /// # Panics
    /// When the dump fails.
    pub fn dump(&self, file: &Path) {
        run("pg_dump", &["-Fc", "-d", &self.url(), "-f"], file).expect("a dump");
    }

    /// Restores a dump into the only database; again if a deadlock with running processes ends it.
    ///
    /// # Panics
    /// When the restore fails five times.
    pub fn restore(&self, file: &Path) {
        let options = ["--clean", "--if-exists", "--single-transaction", "--exit-on-error", "-d", &self.url()];
        let mut tries = (0..5).map(|_| run("pg_restore", &options, file));
        let last = tries.find(Result::is_ok).unwrap_or_else(|| run("pg_restore", &options, file));
        last.expect("a restore");
    }

    /// Promotes a standby to a primary.
    ///
    /// # Panics
    /// If the script of the server is gone.
    pub fn promote(&mut self) {
        self.order("promote");
    }

    /// Returns the port on the loopback address.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Returns the URL of the only database, through another port.
    pub fn url_by(&self, port: u16) -> String {
        self.url().replace(&format!(":{}/", self.0.port), &format!(":{port}/"))
    }

    /// Returns the URL of the only database.
    pub fn url(&self) -> String {
        self.0.url(&self.0.maintenance)
    }

    /// Stops the server like a crash: without notice and without a checkpoint.
    ///
    /// # Panics
    /// If the script of the server is gone.
    pub fn crash(&mut self) {
        self.order("stop");
    }

    /// Restarts the server after a crash.
    ///
    /// # Panics
    /// If the script of the server is gone.
    pub fn restart(&mut self) {
        self.order("start");
    }

    /// Runs each statement by itself, as a superuser does outside of a transaction.
    ///
    /// # Panics
    /// If the server refuses a statement.
    pub fn set_up(&self, statements: &str) {
        let mut conn = PgConnection::establish(&self.url()).expect("a connection");
        statements.split(';').for_each(|statement| conn.batch_execute(statement).expect(statement));
    }

    /// Makes flushes of commits wait for an absent standby. Applies to connections opened later.
    ///
    /// # Panics
    /// If the server refuses the setting.
    pub fn hold_flushes(&self) {
        self.set_up("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
        let is_set = "SELECT 1 / (current_setting('synchronous_standby_names') = 'nobody')::integer";
        while PgConnection::establish(&self.url()).expect("a connection").batch_execute(is_set).is_err() {}
    }

    /// Lets flushes go on.
    ///
    /// # Panics
    /// If the server refuses the setting.
    pub fn release_flushes(&self) {
        self.set_up("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()");
    }

    /// Returns the process of a held flush.
    ///
    /// # Panics
    /// If the server does not tell.
    pub fn held_flush(&self) -> Option<i32> {
        let held = "(SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'jangteo flusher' \
                    AND datname = current_database() AND wait_event = 'SyncRep')";
        let mut conn = PgConnection::establish(&self.url()).expect("a connection");
        diesel::select(diesel::dsl::sql::<Nullable<Integer>>(held)).get_result(&mut conn).expect("the activity")
    }

    fn order(&mut self, order: &str) {
        let watchdog = self.0.watchdog.as_mut().expect("it is our own");
        let input = watchdog.process.stdin.as_mut().expect("it is piped");
        writeln!(input, "{order}").expect("the script runs");
        let mut answer = String::new();
        watchdog.output.read_line(&mut answer).expect("the script runs");
        assert_eq!(answer, "done\n");
    }
}

/// Runs a program of PostgreSQL.
fn run(name: &str, options: &[&str], file: &Path) -> Result<(), String> {
    let programs = programs().ok_or("no programs of PostgreSQL")?;
    let output = Command::new(programs.join(name)).args(options).arg(file).output().map_err(|e| e.to_string())?;
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits for the script's `ready`.
fn await_ready(process: &mut Child) -> Result<BufReader<ChildStdout>, String> {
    let mut output = BufReader::new(process.stdout.take().ok_or("no output")?);
    let mut said = String::new();
    loop {
        let mut line = String::new();
        match output.read_line(&mut line) {
            Ok(_) if line == "ready\n" => return Ok(output),
            Ok(0) => break,
            Ok(_) => said.push_str(&line),
            Err(e) => return Err(e.to_string()),
        }
    }
    let _ = process.wait();
    Err(said)
}

/// Returns the folder with `initdb` and `pg_ctl`: `PG_BINDIR`, the folder from `pg_config`, or Debian's newest.
fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("PG_BINDIR").map(PathBuf::from);
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let asked = asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut installed: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|v| v.path().join("bin")).collect();
    installed.sort();
    let complete = |folder: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file());
    named.into_iter().chain(asked).chain(installed.into_iter().rev()).find(complete)
}

/// Returns the ids of `postgres`, or of `nobody`: user and group.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |flag: &str, user: &str| {
        let output = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    ["postgres", "nobody"].iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Splits `postgres://user@host:port/database?options` into the part before the name, the name, and the rest.
fn split(url: &str) -> Option<(String, String, String)> {
    let authority = url.find("://")? + 3;
    let slash = authority + url[authority..].find('/')?;
    let (name, suffix) = url[slash + 1..].split_at(url[slash + 1..].find('?').unwrap_or(url.len() - slash - 1));
    (!name.is_empty()).then(|| (url[..slash].into(), name.into(), suffix.into()))
}
