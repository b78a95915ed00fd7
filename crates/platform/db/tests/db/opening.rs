//! Opening a database: one process, one schema, and an error of one line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use db::{Database, Error, Migrations, Options};
use diesel::prelude::*;
use testkit::{PgServer, places};

use crate::ground::{Book, MIGRATIONS, NEWER, grounds, insert, sqlite};

async fn open(url: &str, migrations: &'static Migrations) -> db::Result<Database> {
    Database::open(Options::new(url), migrations, Arc::new(Book::default())).await
}

fn refused(opened: db::Result<Database>) -> Error {
    opened.err().expect("it does not open")
}

#[tokio::test]
async fn a_second_opening_of_a_file_is_refused_with_one_line() {
    let ground = sqlite().await;
    ground.db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
    let Error::Unavailable(why) = refused(open(&ground.url, &MIGRATIONS).await) else { panic!("another error") };
    assert!(why.contains("shop.db is in use by another process") && why.lines().count() == 1, "{why}");
    ground.db.write(|tx| insert(tx, 2, 0)).await.expect("the first goes on");
    assert_eq!(ground.reopened().await.accounts().await.len(), 2, "once it is closed, it opens");
}

#[tokio::test]
async fn no_link_and_no_deletion_leads_around_the_lock_of_a_file() {
    let ground = sqlite().await;
    let file = PathBuf::from(ground.url.strip_prefix("sqlite:").expect("a file"));
    let (link, other_name) = (file.with_extension("link"), file.with_extension("other"));
    symlink(&file, &link).expect("a link");
    fs::hard_link(&file, &other_name).expect("another name");
    let folder = file.parent().and_then(|folder| folder.read_dir().ok()).expect("a folder");
    for beside in folder.map(|entry| entry.expect("an entry").path()) {
        if beside.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(beside).expect("it goes");
        }
    }
    for path in [&file, &link, &other_name] {
        let error = refused(open(&format!("sqlite:{}", path.display()), &MIGRATIONS).await);
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("in use by another process")), "{error}");
    }
    let _place = ground.closed().await;
    open(&format!("sqlite:{}", link.display()), &MIGRATIONS).await.expect("once it is closed, it opens");
}

#[tokio::test]
async fn the_folder_of_a_file_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("some/where/shop.db");
    let db = open(&format!("sqlite:{}", file.display()), &MIGRATIONS).await.expect("it opens");
    db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
    assert!(file.is_file());
}

#[tokio::test]
async fn a_url_that_names_no_database_is_refused_with_one_line() {
    for url in
        ["", "shop.db", "mysql://root@localhost/shop", "sqlite:", "sqlite://", "sqlite::memory:", "sqlite:file:x"]
    {
        let error = refused(open(url, &MIGRATIONS).await);
        assert!(matches!(&error, Error::Defect(why) if why.lines().count() == 1), "{url}: {error}");
    }
}

#[test]
fn a_url_that_libpq_refuses_is_refused_without_a_connection() {
    for bad in [
        "postgres://u:p%zz@localhost/shop",
        "postgres://localhost/%zz",
        "postgres://localhost:0/shop",
        "postgres://a:1,b:65536/shop",
        "postgres://localhost/shop?port=99999",
        "postgres://localhost/shop?",
        "postgres://localhost/shop?no_such=1",
        "postgres://localhost/shop?sslmode=always",
        "postgres://localhost/shop?target_session_attrs=any-one",
        "postgres://localhost/shop?connect_timeout=soon",
        "postgres://localhost/shop?keepalives_idle=99999999999",
        "postgres://localhost/shop?hostaddr=localhost",
        "postgres:///shop",
    ] {
        let reason = db::check_url(bad).expect_err(bad);
        assert!(reason.lines().count() == 1 && !reason.contains("p%zz"), "{bad}: {reason}");
    }
    for good in [
        "postgres://u:p@localhost:5432/shop",
        "postgres://u:p%40@a:1,[::1]:2/shop?connect_timeout=5",
        "postgresql://localhost/shop?hostaddr=127.0.0.1,::1&host=a,b&application_name=x%20y",
        "postgres:///shop?host=/run/postgresql",
    ] {
        assert_eq!(db::check_url(good), Ok(()), "{good}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_way = folder.path().join("shop.db");
    std::fs::create_dir(&in_the_way).expect("a folder where a file should be");
    // nobody listens any more
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for url in [format!("postgres://nobody@{port}/nothing"), format!("sqlite:{}", in_the_way.display())] {
        let error = refused(open(&url, &MIGRATIONS).await);
        assert!(matches!(error, Error::Unavailable(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_schema_that_is_newer_is_refused() {
    for place in places().await {
        open(&place.url, &NEWER).await.expect("the newer version opens it").close().await;
        let Error::Defect(why) = refused(open(&place.url, &MIGRATIONS).await) else { panic!("another error") };
        assert!(why.contains("0002") && why.contains("newer version"), "{}: {why}", place.name);
        open(&place.url, &NEWER).await.expect("and was not harmed by it");
    }
}

#[tokio::test]
async fn a_schema_that_is_older_is_brought_up_to_date() {
    for ground in grounds().await {
        ground.db.write(|tx| insert(tx, 1, 0)).await.expect("an account");
        let place = ground.closed().await;
        let db = open(&place.url, &NEWER).await.expect("it opens");
        let rows = db.read(|conn| -> db::Result<i64> { Ok(crate::ground::account::table.count().get_result(conn)?) });
        assert_eq!(rows.await.expect("the accounts"), 1);
    }
}

#[tokio::test]
async fn migrations_run_once_however_many_start_at_once() {
    let Some(place) = places().await.into_iter().find(|place| place.name == "PostgreSQL") else { return };
    let openings = (0..8).map(|_| open(&place.url, &NEWER));
    let opened = futures::future::join_all(openings).await;
    let db = opened.into_iter().map(|opened| opened.expect("each opens")).next().expect("one of them");
    let versions = |conn: &mut db::Conn| -> db::Result<i64> {
        use diesel::dsl::sql;
        use diesel::sql_types::BigInt;
        Ok(diesel::select(sql::<BigInt>("(SELECT count(*) FROM __diesel_schema_migrations)")).get_result(conn)?)
    };
    assert_eq!(db.read(versions).await.expect("the versions"), 2);
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused() {
    let Some(server) = tokio::task::spawn_blocking(PgServer::start).await.expect("no panic") else { return };
    let url = server.url();
    let (place, _) = url.rsplit_once('/').expect("a URL");
    for (name, encoding) in [("ascii", "SQL_ASCII"), ("korean", "EUC_KR")] {
        server.set_up(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ));
        let error = refused(open(&format!("{place}/{name}"), &MIGRATIONS).await);
        assert!(matches!(&error, Error::Defect(why) if why.contains(encoding) && why.contains("UTF8")), "{error}");
    }
    open(&url, &MIGRATIONS).await.expect("UTF8 opens");
}
