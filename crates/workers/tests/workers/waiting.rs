//! Workers during an outage of a database or broker.

use serde_json::Value;
use testkit::PgServer;

use crate::process::{Process, eventually, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_its_database_and_works_once_it_is_there() {
    let Some(mut server) = tokio::task::spawn_blocking(PgServer::start).await.unwrap() else { return };
    server.crash();
    let worker = Process::start("settlement", &server.url(), &[]);
    let said = worker.says("waiting for the database").await;
    let error = said["error"].as_str().unwrap();
    assert!(error.starts_with("setting database.url: postgres://postgres@127.0.0.1:"), "{error}");
    assert_eq!(worker.get("/livez").await, (200, r#"{"status":"live"}"#.into()));
    let (status, body) = worker.get("/readyz").await;
    assert!(status == 503 && body.contains("waiting for the database: setting database.url: "), "{body}");
    server.restart();
    worker.is_ready().await;

    server.crash();
    eventually("it is not ready", async || {
        let (status, body) = worker.get("/readyz").await;
        (status == 503).then(|| assert!(body.contains(r#""degraded":["database: "#), "{body}"))
    })
    .await;
    server.restart();
    worker.is_ready().await;
    assert_eq!(worker.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_ends_when_it_is_asked_to() {
    let worker = Process::start("analytics", "postgres://shop:hunter2@127.0.0.1:1/shop", &[]);
    worker.says("waiting for the database").await;
    let log = worker.log();
    assert!(!log.iter().any(|line| line.to_string().contains("hunter2")));
    assert_eq!(worker.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_topics_are_on_kafka_is_not_ready_without_it() {
    let Some(place) = postgres().await else { return };
    let settings =
        [("SHOP__BUS__TOPICS__PAYMENT_COMPLETED", "kafka"), ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")];
    let ready = Process::start("replenishment", &place.url, &settings);
    let waiting = ["settlement", "outbox-relay"].map(|name| Process::start(name, &place.url, &settings));
    for worker in &waiting {
        eventually("it says what it lacks", async || {
            let (status, body) = worker.get("/readyz").await;
            let body: Value = serde_json::from_str(&body).unwrap();
            let degraded = body["degraded"][0].as_str().unwrap_or_default();
            (degraded.starts_with("kafka: 127.0.0.1:1: ") && !degraded.contains("not asked"))
                .then(|| assert_eq!((status, &body["status"]), (503, &"not ready".into())))
        })
        .await;
        let warnings: Vec<_> = worker.log().into_iter().filter(|line| line["level"] == "WARN").collect();
        let away = warnings.iter().filter(|line| line["message"] == "Kafka is away; events wait in the log");
        assert!(away.count() == 1 && warnings.len() <= 2, "once, and perhaps that the group pauses: {warnings:?}");
    }
    eventually("it is ready, and says what is away", async || {
        let (status, body) = ready.get("/readyz").await;
        (status == 200).then(|| assert!(body.starts_with(r#"{"status":"ready","degraded":["kafka: "#), "{body}"))
    })
    .await;
    for worker in waiting.into_iter().chain([ready]) {
        assert_eq!(worker.terminate().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_moves_a_topic_and_whoever_has_other_settings_says_so() {
    let Some(place) = postgres().await else { return };
    let first = Process::start("outbox-relay", &place.url, &[]);
    first.is_ready().await;
    let settings = [("SHOP__BUS__TOPICS__STOCK_LOW", "kafka"), ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")];
    let second = Process::start("outbox-relay", &place.url, &settings);
    let moved = second.says("topics move to another bus").await;
    assert_eq!((&moved["topics"], &moved["bus"]), (&"stock-low".into(), &"kafka".into()));
    // a consumer moves nothing back
    let consumer = Process::start("settlement", &place.url, &[]);
    for with_other_settings in [&first, &consumer] {
        let differs = with_other_settings.says("another process has put these topics").await;
        assert_eq!(differs["topics"], "stock-low");
    }
}
