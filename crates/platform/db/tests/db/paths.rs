//! Failures between a process and PostgreSQL: a path that swallows data, and poolers.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::Arc;

use db::{Conn, Database, Error, Options, Tx};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use testkit::{Place, places};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_postgres::config::Host;

use crate::ground::{Book, Gate, MIGRATIONS, account, add, insert};

async fn place() -> Option<Place> {
    places().await.into_iter().find(|place| place.name == "PostgreSQL")
}

async fn open(url: &str) -> db::Result<Database> {
    Database::open(Options::new(url), &MIGRATIONS, Arc::new(Book::default())).await
}

/// Returns the URL with another host and port.
fn through(url: &str, address: SocketAddr) -> String {
    let (start, rest) = url.split_once('@').expect("a user");
    format!("{start}@{address}{}", &rest[rest.find('/').expect("a database")..])
}

/// Returns host and port of the server.
fn server(url: &str) -> (String, u16) {
    let config: tokio_postgres::Config = url.parse().expect("a URL");
    let Host::Tcp(host) = &config.get_hosts()[0] else { panic!("a socket") };
    (host.clone(), config.get_ports().first().copied().unwrap_or(5432))
}

/// Forwards connections to a server, and can swallow data instead.
struct Forwarder {
    address: SocketAddr,
    swallow: watch::Sender<()>,
}

impl Forwarder {
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, server, swallow) =
            (listener.local_addr().expect("an address"), server(url), watch::Sender::new(()));
        let swallows = swallow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, swallow) = (server.clone(), swallows.subscribe());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        forward(from_client, to_server, swallow.clone()),
                        forward(from_server, to_client, swallow)
                    );
                });
            }
        });
        Self { address, swallow }
    }

    /// Delivers nothing more on the existing connections.
    fn swallow(&self) {
        self.swallow.send_replace(());
    }
}

async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut swallow: watch::Receiver<()>) {
    let (mut buffer, mut swallows) = (vec![0; 8192], false);
    loop {
        tokio::select! {
            biased;
            changed = swallow.changed(), if !swallows => swallows = changed.is_ok(),
            read = from.read(&mut buffer) => match read {
                // nor is an end delivered
                Ok(0) | Err(_) if swallows => std::future::pending().await,
                Ok(0) | Err(_) => return,
                Ok(_) if swallows => {}
                Ok(length) => if to.write_all(&buffer[..length]).await.is_err() { return },
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_swallows_statements_is_given_up_and_the_next_unit_works() {
    let Some(place) = place().await else { return };
    let forwarder = Forwarder::to(&place.url).await;
    let db = open(&through(&place.url, forwarder.address)).await.expect("it opens");
    // three connections are open, and no more are needed
    let together = Gate::default();
    let three = futures::future::join_all([1, 2, 3].map(|id| {
        let together = together.clone();
        db.write(move |tx| {
            together.pass();
            insert(tx, id, 0)
        })
    }));
    let pass = async {
        together.reached_by(3).await;
        together.open();
    };
    futures::join!(three, pass).0.into_iter().for_each(|answer| answer.expect("an account"));
    let gate = Gate::default();
    let its = gate.clone();
    let begun = db.write(move |tx: &mut Tx<'_>| -> db::Result<()> {
        insert(tx, 100, 0)?;
        its.pass();
        add(tx, 100, 1).map(drop)
    });
    let others = async {
        gate.reached().await;
        forwarder.swallow();
        let (swallowed, read) = futures::join!(
            db.write(|tx| insert(tx, 200, 0)),
            db.read(|conn| Ok::<_, Error>(conn.batch_execute("SELECT 1")?))
        );
        gate.open();
        let next = db.write(|tx| insert(tx, 300, 0)).await;
        (swallowed, read, next)
    };
    let (begun, (swallowed, read, next)) = futures::join!(begun, others);
    for answer in [begun, swallowed, read] {
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    next.expect("a new connection works");
    let ids = |conn: &mut Conn| -> db::Result<Vec<i64>> {
        Ok(account::table.filter(account::id.ge(100)).select(account::id).load(conn)?)
    };
    assert_eq!(db.read(ids).await.expect("the accounts"), [300]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_the_migrations_of_another_process() {
    let Some(place) = place().await else { return };
    let mut other = PgConnection::establish(&place.url).expect("a connection");
    other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(x'006a616e6774656f'::bigint)").expect("the lock");
    let (url, is_waited_for) = (
        place.url.clone(),
        "SELECT 1 / count(*)::int FROM pg_locks WHERE locktype = 'advisory' \
        AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    let opening = tokio::spawn(async move { open(&url).await });
    let mut looker = PgConnection::establish(&place.url).expect("a connection");
    while looker.batch_execute(is_waited_for).is_err() {
        assert!(!opening.is_finished(), "nothing waits for the lock");
        tokio::task::yield_now().await;
    }
    other.batch_execute("COMMIT").expect("the lock is let go");
    let db = opening.await.expect("no panic").expect("it opens");
    let left = "SELECT 1 / (1 - count(*))::int FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    looker.batch_execute(left).expect("no session keeps the lock");
    db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
}

/// PgBouncer in front of the server; ends with this.
struct Pooler {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // the test's own failure matters more
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

impl Pooler {
    /// Starts PgBouncer; returns `None` if PgBouncer is not installed.
    async fn start(url: &str, mode: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|file| std::fs::exists(file).is_ok_and(|is| is));
        let Some(program) = program else {
            eprintln!("not run: PgBouncer is not installed");
            return None;
        };
        let config: tokio_postgres::Config = url.parse().expect("a URL");
        let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
        let password = if password.is_empty() { password } else { format!("password={password}") };
        let ((host, port), user) = (server(url), config.get_user().expect("a user"));
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let settings = format!(
            "[databases]\n* = host={host} port={port} user={user} {password}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            address.port()
        );
        let folder =
            tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
        let folder = folder.expect("a folder");
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("the settings");
        let mut command = Command::new(program);
        command.arg("--quiet").arg(&file);
        if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file).expect("the file")) == 0 {
            command.args(["--user", "nobody"]);
        }
        let process = command.spawn().expect("PgBouncer starts");
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        Some(Self { process, address, _folder: folder })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_named_and_one_in_session_mode_works() {
    let Some(place) = place().await else { return };
    let Some(pooler) = Pooler::start(&place.url, "transaction").await else { return };
    let refused = open(&through(&place.url, pooler.address)).await.err();
    let Some(Error::Defect(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("pooler in transaction mode") && why.lines().count() == 1, "{why}");
    drop(pooler);
    let pooler = Pooler::start(&place.url, "session").await.expect("as before");
    let db = open(&through(&place.url, pooler.address)).await.expect("it opens");
    db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
}
