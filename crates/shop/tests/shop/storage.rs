//! A database that cannot be written, and one that is away at the start.

use std::fs;

use db::diesel::connection::{Connection, SimpleConnection};
use serde_json::{Value, json};
use testkit::PgServer;

use crate::binary::{Binary, said};
use crate::support::{ADMIN, Api, TestMember, eventually, random_key};

async fn register(api: &Api) -> crate::support::Reply {
    let email = format!("{}@example.com", random_key());
    let body = json!({ "email": email, "password": "correct-horse-battery", "name": "Kim" });
    api.post("/members", body).send().await
}

/// The answer of `/readyz`, once a fault is there.
async fn not_ready(api: &Api) -> Value {
    let not_ready = || async {
        let reply = api.get("//readyz").send().await;
        (reply.status == 503).then_some(reply.body)
    };
    eventually("the shop is not ready", not_ready).await
}

/// Alarms of the log about the storage.
fn alarms(shop: &Binary) -> usize {
    shop.log().matches("the database cannot be written").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_database_takes_no_request_and_is_told_once() {
    let mut shop = Binary::new(&[]);
    let api = shop.start().await;
    register(&api).await.expect(201);
    let file = shop.data().join("shop.db");
    fs::rename(&file, file.with_extension("away")).unwrap();
    for _ in 0..3 {
        let refused = register(&api).await;
        assert_eq!(refused.header("retry-after"), "1");
        refused.expect_problem(503, "unavailable");
    }
    let said = json!({ "status": "not ready", "degraded": ["database: deleted or replaced"] });
    assert_eq!(not_ready(&api).await, said);
    let series = r#"storage_unwritable{database="shop.db",reason="replaced"}"#;
    let metrics = api.get("//metrics").send().await.expect(200).text;
    assert!(metrics.contains(&format!("{series} 1")), "{metrics}");
    assert_eq!(alarms(&shop), 1, "{}", shop.log());
    for _ in 0..30 {
        let refused = api.post("/sessions/refresh", json!({ "refresh_token": "x" })).send().await;
        refused.expect_problem(503, "unavailable");
    }
    let lines = shop.log().matches("database unavailable").count();
    assert!((1..10).contains(&lines), "{lines} lines about 33 requests");

    fs::rename(file.with_extension("away"), &file).unwrap();
    shop.is_ready(&api).await;
    register(&api).await.expect(201);
    let metrics = api.get("//metrics").send().await.expect(200).text;
    assert!(metrics.contains(&format!("{series} 0")), "{metrics}");
    assert_eq!(shop.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_read_only_takes_no_request_and_is_told_once() {
    let Some(server) = tokio::task::spawn_blocking(PgServer::start).await.unwrap() else { return };
    let mut shop = Binary::new(&[("SHOP__DATABASE__URL", &server.url())]);
    let api = shop.start().await;
    let read_only = |is_so: &str| {
        let mut conn = db::diesel::PgConnection::establish(&server.url()).unwrap();
        conn.batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {is_so}")).unwrap();
        conn.batch_execute("SELECT pg_reload_conf()").unwrap();
    };
    read_only("on");
    let refused = || async {
        let reply = register(&api).await;
        (reply.status != 201).then_some(reply)
    };
    let refused = eventually("the server takes the setting", refused).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.expect_problem(503, "unavailable");
    assert_eq!(not_ready(&api).await["degraded"], json!(["database: read-only"]));
    register(&api).await.expect_problem(503, "unavailable");
    assert_eq!(alarms(&shop), 1, "{}", shop.log());
    read_only("off");
    shop.is_ready(&api).await;
    eventually("the shop takes requests", || async { (register(&api).await.status == 201).then_some(()) }).await;
    assert_eq!(shop.terminate().await, Some(0));
}

/// Until a crash can undo no more what an answer rests on, nobody is answered: neither a client that asks again, nor one
/// that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_before_the_flush_and_asks_again_is_answered_after_a_flush() {
    let Some(server) = tokio::task::spawn_blocking(PgServer::start).await.unwrap() else { return };
    let mut shop = Binary::new(&[("SHOP__DATABASE__URL", &server.url()), ("SHOP__ADMIN__PASSWORD", ADMIN.1)]);
    let api = shop.start().await;
    let admin = TestMember::sign_in(&api, ADMIN.0, ADMIN.1).await;
    let charge = || admin.post("/wallet/charges", json!({ "amount": "100" })).key("once");
    let held = || async { tokio::task::block_in_place(|| server.held_flush()) };
    server.hold_flushes();
    {
        let mut first = std::pin::pin!(charge().send());
        tokio::select! {
            biased;
            answer = &mut first => panic!("answered before its flush: {answer:?}"),
            _ = eventually("a flush is held", held) => {}
        }
    }
    let wrong = json!({ "email": ADMIN.0, "password": "not-this-one" });
    let answers = async {
        tokio::join!(
            charge().send(),
            api.post("/sessions", wrong).send(),
            api.post("/sessions/refresh", json!({ "refresh_token": "x" })).send()
        )
    };
    let mut answers = std::pin::pin!(answers);
    let looks = async {
        for _ in 0..20 {
            // a GET may show what a crash undoes
            assert_eq!(admin.balance().await, 100);
        }
    };
    tokio::select! { biased; answers = &mut answers => panic!("answered before their flush: {answers:?}"), () = looks => {} }
    server.release_flushes();
    let (again, refused, unknown) = answers.await;
    again.expect(201);
    refused.expect(401);
    unknown.expect(401);
    assert_eq!(admin.balance().await, 100);
    assert_eq!(shop.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_waits_at_the_start_for_its_server_and_says_so() {
    let Some(mut server) = tokio::task::spawn_blocking(PgServer::start).await.unwrap() else { return };
    server.crash();
    let mut shop = Binary::new(&[("SHOP__DATABASE__URL", &server.url())]);
    let waits = |shop: &Binary| shop.log().contains("waiting for the database");
    shop.spawn();
    eventually("the shop waits", || async { waits(&shop).then_some(()) }).await;
    assert_eq!(shop.terminate().await, Some(0), "a shop that waits ends when it is asked to");
    let (code, line) = said(&shop.run(&["migrate"]));
    assert!(code == Some(1) && line.contains("database.url"), "a command does not wait: {line}");

    let api = shop.spawn();
    eventually("the shop waits again", || async {
        (shop.log().matches("waiting for the database").count() > 1).then_some(())
    })
    .await;
    server.restart();
    shop.is_ready(&api).await;
    assert_eq!(shop.terminate().await, Some(0));

    let no_such = server.url().strip_suffix("/postgres").unwrap().to_owned() + "/no_such";
    let mut wrong = Binary::new(&[("SHOP__DATABASE__URL", &no_such)]);
    let (code, line) = said(&wrong.run(&[]));
    assert!(code == Some(2) && line.contains("does not exist"), "{line}");
    wrong.settings.retain(|(name, _)| name != "SHOP__DATABASE__URL");
    wrong.settings.push(("SHOP__DATABASE__URL".into(), "sqlite:/proc/no/such/shop.db".into()));
    let (code, line) = said(&wrong.run(&[]));
    assert!(code == Some(2) && line.contains("/proc/no/such/shop.db"), "{line}");
}
