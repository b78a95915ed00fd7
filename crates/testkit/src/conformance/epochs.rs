//! A log that loses commits: each event of the database is handled once, lost events are never handled, and groups
//! catch up.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use db::Database;
use db::types::Id;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use messaging::admin::{self, EventQuery};
use messaging::{Bus, Consumers, InProcess, Log, RefusedKey, TopicSpec, follow_log, log_epochs, relay_group};
use messaging_kafka::{Kafka, MockKafka};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::log::opened;
use super::{
    Complaints, PARTITIONS, TICKS, Ticked, effecting, following, following_but, make_tables, options, tick, until,
};
use crate::{PgServer, databases_with, kafka, places};

const KEYS: usize = 5;
const GROUP: &str = "follower";
/// Orphaned events of two groups.
const ORPHANS: u64 = 2 * 6 * KEYS as u64;

/// Bus of the topic: in the database's process or on a cluster.
pub struct Stage {
    pub name: &'static str,
    cluster: Option<Kafka>,
    _mock: Option<MockKafka>,
}

/// Returns one stage of each kind available on this machine.
pub async fn stages() -> Vec<Stage> {
    let mock = MockKafka::new(&[(TICKS, PARTITIONS)]);
    let mocked = mock.connect().expect("its options");
    let mut stages = vec![
        Stage { name: "in process", cluster: None, _mock: None },
        Stage { name: "librdkafka's mock cluster", cluster: Some(mocked), _mock: Some(mock) },
    ];
    let cluster = kafka(&[(TICKS, PARTITIONS)]).await;
    stages.extend(cluster.map(|cluster| Stage { name: "Kafka", cluster: Some(cluster), _mock: None }));
    stages
}

/// State outside of processes and databases: a group's effects by event, and the errors found by handlers.
#[derive(Clone, Default)]
struct World {
    complaints: Complaints,
    effects: Arc<Mutex<HashMap<Id, usize>>>,
}

/// A process with two groups and, where the topic is on Kafka, a relay.
struct Process {
    db: Database,
    consumers: Consumers,
    relay: Option<Consumers>,
    _follower: DropGuard,
}

impl Process {
    async fn start(url: &str, stage: &Stage, world: &World) -> Self {
        let log = Log::new();
        let options_of_db = db::Options::new(url);
        let db = Database::open(options_of_db, &contracts::MIGRATIONS, log.recorder()).await.expect("it opens");
        let topics = [TopicSpec { name: TICKS.into(), partitions: PARTITIONS }];
        log.open(&db, &topics).await.expect("the log opens");
        if db.read(|conn| Ok::<_, db::Error>(super::tick::table.count().get_result::<i64>(conn)?)).await.is_err() {
            make_tables(&db).await;
        }
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(db.clone(), log.clone(), stop.clone()));
        let in_process: Arc<dyn Bus> = Arc::new(InProcess::new(db.clone(), log.clone()));
        let (mut relay, mut bus) = (None, in_process.clone());
        if let Some(cluster) = &stage.cluster {
            let group = relay_group(Arc::new(cluster.publisher(Duration::ZERO)), vec![TICKS], RefusedKey::Waits);
            let started = Consumers::start(db.clone(), log.clone(), in_process, vec![group], options()).await;
            relay = Some(started.expect("the relay starts"));
            bus = Arc::new(cluster.bus(log.source()).with_orphans_of(log.clone()));
        }
        let effects = world.effects.clone();
        let effect = effecting("mailer", move |_, events| {
            let mut effects = effects.lock();
            events.iter().for_each(|event| *effects.entry(event.id).or_default() += 1);
            std::future::ready(Ok(()))
        });
        let groups = vec![following(GROUP, &world.complaints), effect];
        let consumers = Consumers::start(db.clone(), log.clone(), bus, groups, options()).await;
        let consumers = consumers.expect("the groups start");
        Self { db, consumers, relay, _follower: stop.drop_guard() }
    }

    /// `count` ticks of each key, again as long as the database is away.
    async fn tick(&self, count: usize) {
        for n in 0..count * KEYS {
            let unit = move |tx: &mut db::Tx<'_>| tick(tx, &format!("key-{}", n % KEYS));
            while let Err(error) = self.db.write(unit).await {
                assert!(matches!(error, db::Error::Unavailable(_) | db::Error::UnknownOutcome(_)), "{error}");
            }
        }
    }

    /// Returns the events of the log.
    async fn events(&self) -> db::Result<Vec<Id>> {
        let read = |conn: &mut db::Conn| admin::events(conn, &EventQuery::default(), 1_000_000);
        Ok(self.db.read(read).await?.into_iter().map(|stored| stored.event.id).collect())
    }

    /// Waits until no group has a lag.
    async fn until_caught_up(&self, name: &str) {
        until(&format!("{name}: all groups have caught up"), async || {
            let lag = self.db.read(admin::consumers).await;
            lag.is_ok_and(|lag| lag.iter().all(|row| row.lag == 0))
        })
        .await;
    }

    /// Checks that the follower has the last number of each key, and no number missing in the database.
    async fn assert_handled(&self, name: &str, world: &World) {
        self.until_caught_up(name).await;
        type Numbers = Vec<(String, i64)>;
        let (emitted, handled): (Numbers, Numbers) = self
            .db
            .read(|conn| -> db::Result<_> {
                use super::{progress, tick};
                let emitted = tick::table.order(tick::key).select((tick::key, tick::next - 1)).load(conn)?;
                let of_group = progress::table.filter(progress::grp.eq(GROUP)).order(progress::key);
                Ok((emitted, of_group.select((progress::key, progress::last)).load(conn)?))
            })
            .await
            .expect("the numbers");
        assert_eq!(handled, emitted, "{name}");
        world.complaints.assert_none();
        let events = self.events().await.expect("the log");
        let effects = world.effects.lock();
        assert!(events.iter().all(|id| effects.contains_key(id)), "{name}: an event has no effect");
    }

    /// The log goes on without the `lost` events but those of the first four ticks, and all orphans are dropped.
    async fn assert_repaired(&self, stage: &Stage, world: &World, lost: &[Id]) {
        // fewer than were lost, so that positions of lost events lie behind the end as well
        self.tick(2).await;
        self.assert_handled(stage.name, world).await;
        assert_eq!(self.events().await.expect("the log").iter().filter(|id| lost.contains(id)).count(), 4 * KEYS);
        let epochs = self.db.read(log_epochs).await.expect("the epochs");
        assert_eq!(epochs.len(), 2, "{}: {epochs:?}", stage.name);
        if stage.cluster.is_some() {
            let all = || self.consumers.orphans() >= ORPHANS;
            until(&format!("{}: all orphans are dropped", stage.name), async || all()).await;
            self.assert_handled(stage.name, world).await;
        }
    }

    async fn stop(self) {
        self.consumers.stop().await;
        if let Some(relay) = self.relay {
            relay.stop().await;
        }
        self.db.close().await;
    }
}

/// SQLite: a copy of the file takes the place of the file between two runs.
pub async fn a_file_that_is_copied_back_loses_events(stage: Stage) {
    let folder = tempfile::Builder::new().prefix("jangteo-test-").tempdir().expect("a temporary folder");
    let (file, backup) = (folder.path().join("shop.db"), folder.path().join("backup.db"));
    let url = format!("sqlite:{}", file.display());
    let restore = async {
        closed(&file).await;
        copy(&backup, &file).await;
    };
    restored(&stage, &url, copy(&file, &backup), restore, &url).await;
}

/// PostgreSQL: processes go on with a copy of the database from a time before the last commits.
pub async fn a_database_that_is_made_of_a_template_loses_events(stage: Stage) {
    let Some(server) = blocking(PgServer::start).await else { return };
    let url = server.url();
    let server_url = url.strip_suffix("postgres").expect("the name of the database");
    let copied = format!("{server_url}copied");
    let make = {
        let template1 = format!("{server_url}template1");
        blocking(move || {
            let mut conn = PgConnection::establish(&template1).expect("a connection");
            // fails as long as somebody is connected to the template
            while conn.batch_execute("CREATE DATABASE copied TEMPLATE postgres").is_err() {}
        })
    };
    restored(&stage, &url, make, async {}, &copied).await;
}

/// Runs a process, backs up the database, runs another process, restores the backup, and runs a third process.
async fn restored(
    stage: &Stage,
    url: &str,
    back_up: impl Future<Output = ()>,
    restore: impl Future<Output = ()>,
    restored_url: &str,
) {
    let (name, world) = (stage.name, World::default());
    let process = Process::start(url, stage, &world).await;
    process.tick(4).await;
    process.assert_handled(name, &world).await;
    process.stop().await;
    back_up.await;
    let process = Process::start(url, stage, &world).await;
    process.tick(6).await;
    process.assert_handled(name, &world).await;
    let lost = process.events().await.expect("the log");
    process.stop().await;
    restore.await;
    let process = Process::start(restored_url, stage, &world).await;
    // fewer than were lost, so that positions of lost events lie behind the end as well
    process.tick(2).await;
    process.assert_handled(name, &world).await;
    assert_eq!(process.events().await.expect("the log").iter().filter(|id| lost.contains(id)).count(), 4 * KEYS);
    if stage.cluster.is_some() {
        until(&format!("{name}: all orphans are dropped"), async || process.consumers.orphans() >= ORPHANS).await;
        process.assert_handled(name, &world).await;
    } else {
        assert_eq!(process.consumers.orphans(), 0, "{name}");
    }
    process.stop().await;
}

/// PostgreSQL: tables are set back between two runs, without a trace in the life of the server.
pub async fn a_restore_that_the_life_does_not_show_is_noticed(stage: Stage) {
    let Some(place) = places().await.into_iter().find(|place| place.name == "PostgreSQL") else { return };
    if stage.cluster.is_none() {
        return; // nobody has what was lost
    }
    const TABLES: [&str; 5] = ["event_log", "topic_partition", "group_position", "tick", "progress"];
    let on_tables = |sql: &str| TABLES.map(|table| sql.replace("{}", table)).join(";");
    let execute = |sql: String| {
        let url = place.url.clone();
        blocking(move || PgConnection::establish(&url).expect("a connection").batch_execute(&sql).expect("tables"))
    };
    let (name, world) = (stage.name, World::default());
    let process = Process::start(&place.url, &stage, &world).await;
    process.tick(4).await;
    process.assert_handled(name, &world).await;
    process.stop().await;
    execute(on_tables("CREATE TABLE saved_{} AS SELECT * FROM {}")).await;
    let process = Process::start(&place.url, &stage, &world).await;
    process.tick(6).await;
    process.assert_handled(name, &world).await;
    process.stop().await;
    execute(on_tables("DELETE FROM {}; INSERT INTO {} SELECT * FROM saved_{}")).await;
    let process = Process::start(&place.url, &stage, &world).await;
    until(&format!("{name}: all orphans are dropped"), async || process.consumers.orphans() >= ORPHANS).await;
    process.tick(2).await;
    process.assert_handled(name, &world).await;
    process.stop().await;
}

/// Another process opens an epoch while this process has connections to the same server: a unit with the old epoch
/// runs again.
pub async fn a_unit_runs_again_when_the_log_has_a_new_epoch() {
    let topics = [TopicSpec { name: TICKS.into(), partitions: 1 }];
    for database in databases_with(&topics).await.into_iter().filter(|database| database.db.is_shared()) {
        make_tables(&database.db).await;
        database.db.write(|tx| tick(tx, "key")).await.expect("a tick");
        let older = |tx: &mut db::Tx<'_>| Ok::<_, db::Error>(tx.batch_execute("UPDATE log_epoch SET life = 'older'")?);
        database.db.write(older).await.expect("an epoch of an older life");
        let (_other, _log) = opened(&database.url, &[]).await;
        database.db.write(|tx| tick(tx, "key")).await.expect("a tick");
        let epochs = database.db.read(log_epochs).await.expect("the epochs");
        let events = |conn: &mut db::Conn| admin::behind(conn, TICKS, 0, -1, 10);
        let events = database.db.read(events).await.expect("the log");
        let of_events: Vec<_> = events.iter().map(|stored| stored.event.epoch).collect();
        assert_eq!(of_events, epochs.iter().map(|epoch| epoch.id).collect::<Vec<_>>());
        assert_eq!(of_events.len(), 2);
    }
}

/// A process that has not heard of an epoch handles nothing that the log has lost, though the life is the same.
pub async fn a_process_that_has_not_heard_of_an_epoch_handles_nothing_that_was_lost() {
    let topics = [TopicSpec { name: TICKS.into(), partitions: 1 }];
    for database in databases_with(&topics).await.into_iter().filter(|database| database.db.is_shared()) {
        make_tables(&database.db).await;
        let complaints = Complaints::default();
        let ((begin, mut begun), (go_on, goes_on)) = (mpsc::unbounded_channel(), std::sync::mpsc::channel::<()>());
        let goes_on = Mutex::new(goes_on);
        let group = following_but(GROUP, &complaints, move |ticked: &Ticked| {
            if ticked.number == 1 && begin.send(()).is_ok() {
                // an error at the end of the wait, and of later ones
                let _ = goes_on.lock().recv();
            }
            Ok(())
        });
        let (db, log) = (database.db.clone(), database.log.clone());
        let bus = Arc::new(InProcess::new(db.clone(), log.clone()));
        let consumers =
            Consumers::start(db.clone(), log.clone(), bus, vec![group], options()).await.expect("it starts");
        for _ in 0..2 {
            db.write(|tx| tick(tx, "key")).await.expect("a tick");
        }
        begun.recv().await.expect("the second is being handled");
        // the third is in memory when the log loses it
        db.write(|tx| tick(tx, "key")).await.expect("a tick");
        let lose =
            "DELETE FROM event_log WHERE position = 2; UPDATE tick SET next = 2; UPDATE log_epoch SET life = 'older'";
        db.write(move |tx| Ok::<_, db::Error>(tx.batch_execute(lose)?)).await.expect("it is lost");
        let (_other, _log) = opened(&database.url, &[]).await;
        drop(go_on);
        let end = log.end(TICKS, 0).expect("a partition");
        until("the process knows of the epoch", async || *end.borrow() == 2).await;
        db.write(|tx| tick(tx, "key")).await.expect("a tick");
        until("all is handled", async || {
            let lag = db.read(admin::consumers).await;
            lag.is_ok_and(|lag| lag.iter().all(|row| row.lag == 0 && row.position == 2))
        })
        .await;
        consumers.stop().await;
        complaints.assert_none();
    }
}

/// PostgreSQL: a dump is restored into the database that was dumped.
pub async fn a_dump_that_is_restored_loses_events(stage: Stage) {
    let Some(dump) = Dump::new().await else { return };
    let url = dump.server.url();
    restored(&stage, &url, dump.take(), dump.restore(), &url).await;
}

/// The same while a process runs: its connections survive.
pub async fn a_dump_that_is_restored_under_a_process_loses_events(stage: Stage) {
    let Some(dump) = Dump::new().await else { return };
    let (name, world) = (stage.name, World::default());
    let process = Process::start(&dump.server.url(), &stage, &world).await;
    process.tick(4).await;
    process.assert_handled(name, &world).await;
    dump.take().await;
    process.tick(6).await;
    process.assert_handled(name, &world).await;
    let lost = process.events().await.expect("the log");
    dump.restore().await;
    process.assert_repaired(&stage, &world, &lost).await;
    process.stop().await;
}

/// A server and a file for its dump.
struct Dump {
    server: Arc<PgServer>,
    folder: TempDir,
}

impl Dump {
    /// `None` where PostgreSQL has no programs for dumps.
    async fn new() -> Option<Self> {
        let server = Arc::new(blocking(PgServer::start).await?);
        let folder = tempfile::Builder::new().prefix("jangteo-test-").tempdir().expect("a temporary folder");
        PgServer::can_dump().then_some(Self { server, folder })
    }

    fn take(&self) -> impl Future<Output = ()> + use<> {
        let (server, file) = (self.server.clone(), self.folder.path().join("dump"));
        blocking(move || server.dump(&file))
    }

    fn restore(&self) -> impl Future<Output = ()> + use<> {
        let (server, file) = (self.server.clone(), self.folder.path().join("dump"));
        blocking(move || server.restore(&file))
    }
}

/// Copies a closed file: SQLite deletes the write-ahead log with the last connection.
async fn copy(from: &Path, to: &Path) {
    closed(from).await;
    std::fs::copy(from, to).expect("a copy");
}

async fn closed(file: &Path) {
    until("the file is closed", async || !file.with_extension("db-wal").exists()).await;
}

/// PostgreSQL: processes run on while the server fails over to a standby without the last commits.
pub async fn a_failover_to_a_lagging_standby_loses_events(stage: Stage) {
    let Some(primary) = blocking(PgServer::start).await else { return };
    let (primary, standby) = blocking(move || {
        let standby = primary.standby();
        (primary, standby)
    })
    .await;
    let way = Way::to(primary.port()).await;
    let (url, world, name) = (primary.url_by(way.port), World::default(), stage.name);
    let process = Process::start(&url, &stage, &world).await;
    process.tick(4).await;
    process.assert_handled(name, &world).await;
    let (mut primary, mut standby) = blocking(move || {
        let mut standby = standby;
        standby.follow_to_the_end_of(&primary);
        standby.crash();
        (primary, standby)
    })
    .await;
    process.tick(6).await;
    process.assert_handled(name, &world).await;
    let lost = process.events().await.expect("the log");
    let standby = blocking(move || {
        primary.crash();
        standby.restart();
        standby.promote();
        standby
    })
    .await;
    way.leads_to.store(standby.port(), Ordering::SeqCst);
    process.assert_repaired(&stage, &world, &lost).await;
    process.stop().await;
}

/// PostgreSQL: a standby that lacks the last commits is promoted, and a process goes on with the old primary.
pub async fn two_primaries_at_once_lose_the_events_of_one(stage: Stage) {
    let Some(primary) = blocking(PgServer::start).await else { return };
    let (ways, world, name) =
        ([Way::to(primary.port()).await, Way::to(primary.port()).await], World::default(), stage.name);
    let urls = [0, 1].map(|n| primary.url_by(ways[n].port));
    let first = Process::start(&urls[0], &stage, &world).await;
    first.tick(4).await;
    first.assert_handled(name, &world).await;
    let (mut primary, standby) = blocking(move || {
        let mut standby = primary.standby();
        standby.follow_to_the_end_of(&primary);
        standby.set_up("ALTER SYSTEM SET primary_conninfo = ''");
        standby.crash();
        (primary, standby)
    })
    .await;
    let late = Process::start(&urls[1], &stage, &world).await;
    late.tick(6).await;
    late.assert_handled(name, &world).await;
    let standby = blocking(move || {
        let mut standby = standby;
        standby.restart();
        standby.promote();
        standby
    })
    .await;
    ways[0].leads_to.store(standby.port(), Ordering::SeqCst);
    ways[0].cut();
    // each by its own server; the last events of the old one come behind the positions of the new one on Kafka
    first.tick(12).await;
    first.assert_handled(name, &world).await;
    late.tick(3).await;
    late.assert_handled(name, &world).await;
    let lost = late.events().await.expect("the log");
    if stage.cluster.is_some() {
        let all = || first.consumers.orphans() >= 2 * 9 * KEYS as u64;
        until(&format!("{name}: all orphans are dropped"), async || all()).await;
    }
    let _primary = blocking(move || {
        primary.crash();
        primary
    })
    .await;
    ways[1].leads_to.store(standby.port(), Ordering::SeqCst);
    late.tick(1).await;
    first.assert_handled(name, &world).await;
    late.assert_handled(name, &world).await;
    assert_eq!(first.events().await.expect("the log").iter().filter(|id| lost.contains(id)).count(), 4 * KEYS);
    for process in [first, late] {
        process.stop().await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// A local port forwarded to a server, and after a failover to the other server.
struct Way {
    port: u16,
    leads_to: Arc<AtomicU16>,
    /// Ends the connections there are.
    cut: watch::Sender<()>,
    _task: AbortOnDropHandle<()>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let leads_to = Arc::new(AtomicU16::new(port));
        let (port, its) = (listener.local_addr().expect("an address").port(), leads_to.clone());
        let cut = watch::Sender::new(());
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let (port, mut cut) = (its.load(Ordering::SeqCst), cuts.subscribe());
                tokio::spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(("127.0.0.1", port)).await {
                        // an error ends the connection on both sides, as it should
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                            _ = cut.changed() => {}
                        }
                    }
                });
            }
        });
        Self { port, leads_to, cut, _task: AbortOnDropHandle::new(task) }
    }

    fn cut(&self) {
        self.cut.send_replace(());
    }
}
