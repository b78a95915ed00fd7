//! Statements received by PostgreSQL, counted by the server's log: at rest, and for each event.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use db::Database;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use messaging::{ConsumerOptions, Consumers, Group, InProcess, Log, RefusedKey, TopicSpec, follow_log, relay_group};
use messaging_kafka::MockKafka;
use testkit::PgServer;
use testkit::conformance::{Complaints, TICKS, effecting, following, tick, until};
use tokio_util::sync::CancellationToken;

/// Statements and transactions of an event. The slower the machine, the fewer.
const CEILING: (f64, f64) = (11.0, 3.5);
const GROUPS: [&str; 8] = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

/// A process on a private server that logs every statement.
struct Process {
    db: Database,
    log: Log,
    server: Arc<PgServer>,
    stop: CancellationToken,
}

#[derive(QueryableByName)]
struct LogText {
    #[diesel(sql_type = Text)]
    text: String,
}

impl Process {
    async fn start(partitions: i32) -> Option<Self> {
        let server = tokio::task::spawn_blocking(PgServer::start).await.expect("no panic")?;
        let mut conn = PgConnection::establish(&server.url()).expect("a connection");
        for set in [
            "ALTER SYSTEM SET log_line_prefix = '@%p '",
            "SELECT pg_reload_conf()",
            "ALTER DATABASE postgres SET log_statement = 'all'",
        ] {
            conn.batch_execute(set).expect("a setting");
        }
        let log = Log::new();
        let options = db::Options::new(server.url());
        let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await.expect("it opens");
        log.open(&db, &[TopicSpec { name: TICKS.into(), partitions }]).await.expect("the log opens");
        testkit::conformance::make_tables(&db).await;
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(db.clone(), log.clone(), stop.clone()));
        Some(Self { db, log, server: Arc::new(server), stop })
    }

    async fn host(&self, groups: Vec<Group>, options: ConsumerOptions) -> Consumers {
        let bus = Arc::new(InProcess::new(self.db.clone(), self.log.clone()));
        Consumers::start(self.db.clone(), self.log.clone(), bus, groups, options).await.expect("the groups start")
    }

    /// Returns the statements so far except flushes, each with the backend's process id.
    async fn statements(&self) -> Vec<(String, String)> {
        let server = self.server.clone();
        let read = move || {
            let mut conn = PgConnection::establish(&server.url()).expect("a connection");
            conn.batch_execute("SET log_statement = 'none'").expect("a setting");
            let read = "SELECT pg_read_file(current_setting('data_directory') || '/../log') AS text";
            diesel::sql_query(read).get_result::<LogText>(&mut conn).expect("the log").text
        };
        let text = tokio::task::spawn_blocking(read).await.expect("no panic");
        let statement = |line: &str| {
            let (process, said) = line.strip_prefix('@')?.split_once(" LOG:  ")?;
            let statement = said.strip_prefix("statement: ").or_else(|| said.strip_prefix("execute "))?;
            // of the flusher, and of connections that begin
            let apart = ["pg_logical_emit_message", "log_statement", "SET CLIENT_ENCODING", "SET TIME ZONE"];
            let is_apart = apart.iter().any(|words| statement.contains(words));
            (!is_apart).then(|| (process.to_owned(), statement.to_owned()))
        };
        text.lines().filter_map(statement).collect()
    }
}

/// An idle member renews the membership and the leases by one statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_at_rest_renews_by_one_statement() {
    let Some(process) = Process::start(100).await else { return };
    let groups = GROUPS.map(|name| effecting(name, |_, _| async { Ok(()) })).to_vec();
    let members = process.host(groups, ConsumerOptions::default()).await;
    let is_renewal = |statement: &str| statement.contains("WITH me AS");
    until("only renewals, and polls of ends", async || {
        let statements = process.statements().await;
        let last: Vec<_> = statements.iter().rev().take(30).collect();
        let renewals = last.iter().filter(|(_, statement)| is_renewal(statement)).count();
        let polls = last.iter().filter(|(_, statement)| statement.contains("SELECT max(position)")).count();
        renewals >= 25 && renewals + polls == 30
    })
    .await;
    members.stop().await;
    process.stop.cancel();
}

/// Counts transactions and statements of units of one event each, with a relay and a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_takes_few_statements() {
    const EVENTS: usize = 1000;
    let Some(process) = Process::start(4).await else { return };
    let mock = MockKafka::new(&[(TICKS, 4)]);
    let cluster = mock.connect().expect("its options");
    let complaints = Complaints::default();
    let publisher = Arc::new(cluster.publisher(Duration::ZERO));
    let relay = relay_group(publisher, vec![TICKS], RefusedKey::Waits);
    let relay = process.host(vec![relay], ConsumerOptions::relay()).await;
    let bus = Arc::new(cluster.bus(process.log.source()));
    let group = following("follows", &complaints);
    let (db, log) = (process.db.clone(), process.log.clone());
    let members = Consumers::start(db, log, bus, vec![group], ConsumerOptions::default()).await.expect("it starts");
    let before = process.statements().await.len();
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    let mut units = tokio::task::JoinSet::new();
    for n in 0..EVENTS {
        pace.tick().await;
        let db = process.db.clone();
        units.spawn(async move {
            // nothing is done while every connection is busy
            while db.write(move |tx| tick(tx, &format!("key-{}", n % 100))).await.is_err() {}
        });
    }
    units.join_all().await;
    until("all is relayed and handled", async || {
        let lags = process.db.read(messaging::admin::consumers).await;
        lags.expect("the lags").iter().all(|row| row.lag == 0)
    })
    .await;
    complaints.assert_none();
    let statements = process.statements().await.split_off(before);
    let (mut open, mut transactions) = (HashSet::new(), 0);
    for (process, statement) in &statements {
        let is = |word: &str| statement.starts_with(word);
        if is("BEGIN") {
            open.insert(process);
        }
        let ends = is("COMMIT") || is("ROLLBACK");
        transactions += usize::from(ends || !open.contains(process));
        if ends {
            open.remove(process);
        }
    }
    let (statements_each, transactions_each) =
        (statements.len() as f64 / EVENTS as f64, transactions as f64 / EVENTS as f64);
    let counts = format!("{statements_each:.2} statements and {transactions_each:.2} transactions an event");
    assert!(statements_each <= CEILING.0 && transactions_each <= CEILING.1, "{counts}");
    relay.stop().await;
    members.stop().await;
    process.stop.cancel();
}
