//! The migration that numbers the rows of an outbox.

use db::Database;
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use messaging::admin::{self, EventQuery};
use messaging::{Log, TopicSpec};
use testkit::Place;

const NUMBERING: &str = "0021";
const TOPIC: &str = "old";

/// Returns a database in the state before the migration: a topic of three partitions, one with an event, and six
/// events in the outbox.
async fn old() -> Option<Place> {
    let place = testkit::places().await.into_iter().find(|place| place.name == "PostgreSQL")?;
    let mut conn = PgConnection::establish(&place.url).expect("a connection");
    conn.applied_migrations().expect("a table of migrations");
    let all: Vec<Box<dyn Migration<Pg>>> = contracts::MIGRATIONS.postgres.migrations().expect("migrations");
    for migration in all.iter().filter(|migration| *migration.name().to_string() < *NUMBERING) {
        conn.run_migration(migration).expect("a migration");
    }
    let event = "gen_random_uuid(), 'key', 'test', 1, 1, now(), '{}'";
    conn.batch_execute(&format!(
        "INSERT INTO topic_partition (topic, partition, next) VALUES ('{TOPIC}', 0, 0), ('{TOPIC}', 1, 8), ('{TOPIC}', 2, 0);
         INSERT INTO event_log (id, key, kind, version, aggregate_version, occurred_at, payload, topic, partition, position,
                                appended_at) VALUES ({event}, '{TOPIC}', 1, 7, now());
         INSERT INTO outbox (id, key, kind, version, aggregate_version, occurred_at, payload, topic, key_hash)
         SELECT {event}, '{TOPIC}', n FROM generate_series(0, 5) n"
    ))
    .expect("the state before");
    Some(place)
}

async fn open(place: &Place) -> db::Result<(Database, Log)> {
    open_url(&place.url).await
}

async fn open_url(url: &str) -> db::Result<(Database, Log)> {
    let log = Log::new();
    let options = db::Options::new(url);
    let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await?;
    log.open(&db, &[TopicSpec { name: TOPIC.into(), partitions: 3 }]).await?;
    Ok((db, log))
}

#[tokio::test]
async fn what_waits_in_an_outbox_is_numbered_once() {
    let Some(place) = old().await else { return };
    for _ in 0..2 {
        let (db, log) = open(&place).await.expect("it opens");
        let read = |conn: &mut db::Conn| admin::events(conn, &EventQuery::default(), 100);
        let events = db.read(read).await.expect("the log");
        let mut places: Vec<_> = events.iter().map(|it| (it.event.partition, it.event.position)).collect();
        places.sort_unstable();
        assert_eq!(places, [(0, 0), (0, 1), (1, 7), (1, 8), (1, 9), (2, 0), (2, 1)]);
        let end = |partition| log.end(TOPIC, partition).map(|end| *end.borrow());
        assert_eq!([end(0), end(1), end(2)], [Some(2), Some(10), Some(2)]);
        db.close().await;
    }
}

/// The migration waits for units of the earlier version in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_while_the_migration_waits_is_numbered() {
    let Some(place) = old().await else { return };
    let mut unit = PgConnection::establish(&place.url).expect("a connection");
    let event = "gen_random_uuid(), 'key', 'test', 1, 1, now(), '{}'";
    unit.batch_execute(&format!(
        "BEGIN; INSERT INTO outbox (id, key, kind, version, aggregate_version, occurred_at, payload, topic, key_hash)
         VALUES ({event}, '{TOPIC}', 0)"
    ))
    .expect("an event");
    let opened = tokio::spawn({
        let url = place.url.clone();
        async move { open_url(&url).await }
    });
    let waits =
        "SELECT 1 / (EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass))::integer";
    let mut watch = PgConnection::establish(&place.url).expect("a connection");
    while watch.batch_execute(waits).is_err() {
        tokio::task::yield_now().await;
    }
    unit.batch_execute("COMMIT").expect("the unit");
    let (_db, log) = opened.await.expect("no panic").expect("it opens");
    assert_eq!(log.end(TOPIC, 0).map(|end| *end.borrow()), Some(3));
}

#[tokio::test]
async fn programs_of_the_version_before_are_to_be_stopped_first() {
    let Some(place) = old().await else { return };
    let mut conn = PgConnection::establish(&place.url).expect("a connection");
    conn.batch_execute("INSERT INTO group_member VALUES ('group', gen_random_uuid(), now() + interval '1 hour')")
        .expect("a member");
    let refused = open(&place).await.err().expect("a member is alive").to_string();
    assert!(refused.contains("stop them first") && !refused.contains('\n'), "{refused}");
    conn.batch_execute("DELETE FROM group_member").expect("the member leaves");
    open(&place).await.expect("it opens");
}
