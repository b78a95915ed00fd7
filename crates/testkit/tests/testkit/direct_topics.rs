//! The migration that ends direct topics.

use contracts::events::CouponIssueRequested;
use contracts::topics::COUPON_ISSUE_REQUESTED as TOPIC;
use contracts::{CouponId, MemberId, RequestId};
use db::Database;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use messaging::admin::{self, EventQuery};
use messaging::{Log, TopicSpec};
use testkit::Place;

/// The migration behind the one that made the tables.
const NEXT: &str = "0018";

/// Statements that make the state before: a topic of one partition whose events went straight to Kafka, and a group that
/// has handled none of them.
fn state(id: &str) -> String {
    format!(
        "INSERT INTO log_source (id) VALUES ({id});
         INSERT INTO topic_partition (topic, partition) VALUES ('{TOPIC}', 0);
         INSERT INTO topic_epoch (topic, number, source, direct, cluster) VALUES ('{TOPIC}', 0, {id}, TRUE, 'there');
         INSERT INTO topic_epoch_partition (topic, number, partition, first) VALUES ('{TOPIC}', 0, 0, 3);
         INSERT INTO consumer_group (name, mode) VALUES ('issuer', 'once');
         INSERT INTO group_position (grp, topic, partition, source, position) VALUES ('issuer', '{TOPIC}', 0, {id}, -1)"
    )
}

fn before<C, DB: Backend>(conn: &mut C, migrations: &EmbeddedMigrations, state: &str)
where
    C: MigrationHarness<DB> + SimpleConnection,
    EmbeddedMigrations: MigrationSource<DB>,
{
    conn.applied_migrations().expect("a table of migrations");
    let all: Vec<Box<dyn Migration<DB>>> = migrations.migrations().expect("migrations");
    for migration in all.iter().filter(|migration| *migration.name().to_string() < *NEXT) {
        conn.run_migration(migration).expect("a migration");
    }
    conn.batch_execute(state).expect("the state before");
}

/// Runs statements on the database of a version before, which is made first if it `is_new`.
fn on(place: &Place, is_new: bool, statements: &str) {
    match place.url.strip_prefix("sqlite:") {
        Some(path) => {
            let mut conn = SqliteConnection::establish(path).expect("a connection");
            if is_new {
                before(&mut conn, &contracts::MIGRATIONS.sqlite, &state("x'00000000000000000000000000000007'"));
            }
            conn.batch_execute(statements).expect("the statements");
        }
        None => {
            let mut conn = PgConnection::establish(&place.url).expect("a connection");
            if is_new {
                before(&mut conn, &contracts::MIGRATIONS.postgres, &state("'00000000-0000-0000-0000-000000000007'"));
            }
            conn.batch_execute(statements).expect("the statements");
        }
    }
}

async fn open(place: &Place) -> db::Result<(Database, Log)> {
    let log = Log::new();
    let db = Database::open(db::Options::new(&place.url), &contracts::MIGRATIONS, log.recorder()).await?;
    log.open(&db, &[TopicSpec { name: TOPIC.into(), partitions: 1 }]).await?;
    Ok((db, log))
}

async fn is_refused(place: &Place) {
    let line = open(place).await.err().expect("requests wait").to_string();
    assert!(line.contains(r#"run "shop drain""#) && !line.contains('\n'), "{}: {line}", place.name);
}

#[tokio::test]
async fn requests_that_wait_outside_the_log_keep_a_database_from_the_update() {
    for place in testkit::places().await {
        on(&place, true, "SELECT 1");
        is_refused(&place).await;
        let close = if place.name == "SQLite" { "1" } else { "now()" };
        on(&place, false, &format!("UPDATE topic_epoch SET closed_at = {close}"));
        is_refused(&place).await;
        // five records, and the group has still to handle the last
        on(&place, false, "UPDATE topic_epoch_partition SET next = 8; UPDATE group_position SET position = 6");
        is_refused(&place).await;
        on(&place, false, "UPDATE group_position SET position = 7");
        let (db, log) = open(&place).await.expect("nothing waits");

        assert_eq!(log.end(TOPIC, 0).map(|end| *end.borrow()), Some(8), "{}: positions rise", place.name);
        let emit = |tx: &mut db::Tx<'_>| {
            let (request_id, coupon_id, member_id) = (RequestId::new(), CouponId::new(), MemberId::new());
            let requested_at = tx.now()?;
            messaging::emit(tx, &CouponIssueRequested { request_id, coupon_id, member_id, requested_at })
        };
        db.write(emit).await.expect("a request");
        let events = db.read(|conn| admin::events(conn, &EventQuery::default(), 10)).await.expect("the log");
        assert_eq!(events.iter().map(|it| it.event.position).collect::<Vec<_>>(), [8], "{}", place.name);
        let lags = db.read(admin::consumers).await.expect("the lag");
        assert_eq!(lags.iter().map(|it| (it.position, it.lag)).collect::<Vec<_>>(), [(7, 1)], "{}", place.name);
        db.close().await;
    }
}
