//! A database without writes, and an absent database at the start.

use std::fs;
use std::time::{Duration, Instant};

use db::diesel::connection::{Connection, SimpleConnection};
use serde_json::{Value, json};
use testkit::PgServer;

use crate::binary::{Binary, admin, said, shopper};
use crate::support::{ADMIN, Api, TestMember, eventually, random_key};

async fn register(api: &Api) -> crate::support::Reply {
    let email = format!("{}@example.com", random_key());
    let body = json!({ "email": email, "password": "correct-horse-battery", "name": "Kim" });
    api.post("/members", body).send().await
}

/// Returns the answer of `/readyz` during a fault.
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
async fn a_locked_table_is_unavailable_in_the_language_of_the_server() {
    let server = tokio::task::spawn_blocking(|| PgServer::start_speaking("ko")).await.unwrap();
    let Some(server) = server else { return };
    let mut shop = Binary::new(&[("SHOP__DATABASE__URL", &server.url())]);
    let api = shop.start().await;
    register(&api).await.expect(201);
    let mut locker = db::diesel::PgConnection::establish(&server.url()).unwrap();
    locker.batch_execute("BEGIN; LOCK TABLE member").unwrap();
    let refused = register(&api).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.expect_problem(503, "unavailable");
    locker.batch_execute("COMMIT").unwrap();
    register(&api).await.expect(201);
    assert_eq!(shop.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_pause_for_a_minute_show_in_readiness_and_metrics() {
    let Some(server) = tokio::task::spawn_blocking(PgServer::start).await.unwrap() else { return };
    // requests find a connection beside the groups that wait for the lock
    let (url, pool) = (server.url(), ("SHOP__DATABASE__POOL_SIZE", "100"));
    let mut shop = Binary::new(&[("SHOP__DATABASE__URL", &url), ("SHOP__ADMIN__PASSWORD", ADMIN.1), pool]);
    let api = shop.start().await;
    let mug = json!({ "name": "Mug", "price": "1", "stock": 1000 });
    let product = admin(&api).await.post("/products", mug).send().await.expect(201).text("id");
    let buyer = shopper(&api, "1000").await;
    let mut locker = db::diesel::PgConnection::establish(&server.url()).unwrap();
    locker.batch_execute("BEGIN; LOCK TABLE group_lease").unwrap();
    // leases of 10 s end first, and then a purchase finds them ended
    let deadline = Instant::now() + Duration::from_secs(180);
    let degraded = loop {
        let reply = api.get("//readyz").send().await;
        let degraded = reply.body["degraded"].to_string();
        if reply.status == 200 && degraded.contains("group settlement: ") {
            break degraded;
        }
        assert!(Instant::now() < deadline, "{}", reply.text);
        let order = buyer.has_ordered(&product, 1).await;
        buyer.pay(&order).send().await.expect(201);
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert!(degraded.contains("partitions paused") && degraded.contains("the lease is not renewed"), "{degraded}");
    let metrics = api.get("//metrics").send().await.expect(200).text;
    let paused = |metrics: &str| {
        let series = metrics.lines().filter(|line| line.starts_with(r#"consumer_paused_seconds{group="settlement""#));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, f64::max)
    };
    assert!(paused(&metrics) >= 60.0, "{metrics}");
    locker.batch_execute("COMMIT").unwrap();
    let goes_on = async || {
        let metrics = api.get("//metrics").send().await.expect(200).text;
        let reply = api.get("//readyz").send().await;
        (reply.body["degraded"].is_null() && paused(&metrics) == 0.0).then_some(())
    };
    eventually("the groups go on", goes_on).await;
    assert_eq!(shop.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_that_it_waits_for_migrations() {
    let Some(server) = tokio::task::spawn_blocking(PgServer::start).await.unwrap() else { return };
    let mut other = db::diesel::PgConnection::establish(&server.url()).unwrap();
    other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(x'006a616e6774656f'::bigint)").unwrap();
    let mut shop = Binary::new(&[("SHOP__DATABASE__URL", &server.url()), ("SHOP__LOG__FILTER", "info")]);
    let api = shop.spawn();
    let told = async || shop.log().contains("the start waits for the migrations of another process").then_some(());
    eventually("the wait is told", told).await;
    other.batch_execute("COMMIT").unwrap();
    shop.is_ready(&api).await;
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

/// No client is answered before a flush makes the answer's basis durable: neither a repeating client nor a refused
/// client.
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
