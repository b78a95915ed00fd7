//! Delivery to Kafka.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::time::Duration;

use messaging_kafka::{Kafka, KafkaOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::support::{TestProxy, reply};

/// Returns an isolated part of the cluster; `None` without a cluster.
pub(super) fn place() -> Option<(Kafka, [(&'static str, String); 3])> {
    let (servers, prefix) = testkit::kafka_place()?;
    let options =
        KafkaOptions { bootstrap_servers: servers.clone(), prefix: prefix.clone(), ..KafkaOptions::default() };
    let settings = [
        ("EVENT_PROXY__BUS__BACKEND", "kafka".to_owned()),
        ("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", servers),
        ("EVENT_PROXY__BUS__KAFKA__PREFIX", prefix),
    ];
    Some((Kafka::new(options).unwrap(), settings))
}

pub(super) async fn start(settings: &[(&str, String)], more: &[(&str, &str)]) -> TestProxy {
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
    TestProxy::start(&settings).await
}

fn event(n: usize) -> Value {
    json!({ "service": "order", "type": "paid", "key": format!("k{}", n % 7), "data": n })
}

/// Returns the numbers of the events on Kafka, by partition and in order.
pub(super) async fn on_kafka(kafka: &Kafka, partitions: i32) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    for partition in 0..partitions {
        let records = kafka.records("order.paid", partition).await.unwrap();
        let number = |payload: &str| serde_json::from_str::<Value>(payload).unwrap()["data"].as_u64().unwrap();
        all.push(records.iter().map(|event| number(&event.payload)).collect());
    }
    all
}

pub(super) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_acknowledges_when_it_has_the_event_and_where() {
    let Some((kafka, settings)) = place() else { return };
    let mut proxy = start(&settings, &[]).await;
    let mut ends = [0, 0, 0];
    for n in 0..20 {
        let posted = proxy.post("?ack=kafka", "application/json", event(n).to_string());
        let taken = reply(posted).await.expect(200);
        assert_eq!(taken["topic"], "order.paid");
        let partition = usize::try_from(taken["partition"].as_u64().unwrap()).unwrap();
        assert_eq!(taken["offset"], ends[partition], "{taken}");
        ends[partition] += 1;
        let receipt = proxy.get(&format!("/v1/receipts/{}", taken["receipt"].as_str().unwrap())).await;
        let receipt = receipt.expect(200);
        assert_eq!((&receipt["topic"], receipt["partition"].as_u64()), (&json!("order.paid"), Some(partition as u64)));
    }
    let both = json!([event(20), event(21), { "service": "", "type": "paid", "data": 1 }]);
    let items =
        reply(proxy.post("?ack=kafka", "application/json", both.to_string())).await.expect(207)["items"].clone();
    assert_eq!([&items[0]["status"], &items[1]["status"], &items[2]["status"]], [200, 200, 422]);
    let stored = on_kafka(&kafka, 3).await;
    assert!(stored.iter().all(|numbers| numbers.is_sorted()));
    assert_eq!(stored.concat().len(), 22);
    until("all are delivered", async || {
        let ledger = proxy.get("/v1/ledger").await.expect(200);
        ledger["order.paid"]["accepted"] == 22 && ledger["order.paid"]["delivered"] == 22
    })
    .await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_kafka_and_come_in_their_order() {
    let Some((kafka, mut settings)) = place() else { return };
    let servers = std::mem::replace(&mut settings[1].1, "127.0.0.1:1".into());
    let mut proxy = start(&settings, &[("EVENT_PROXY__DELIVERY__ACK_TIMEOUT", "200ms")]).await;
    let first = reply(proxy.post("?ack=kafka", "application/json", event(0).to_string())).await.expect(202);
    assert_eq!((&first["fallback"], &first["topic"]), (&json!(true), &Value::Null));
    for n in 1..50 {
        proxy.json(event(n)).await.expect(202);
    }
    let ready = proxy.get("/readyz").await.expect(200);
    assert!(ready["degraded"][0].as_str().unwrap().starts_with("kafka: 127.0.0.1:1"), "{ready}");
    assert_eq!(proxy.get("/v1/ledger").await.expect(200)["order.paid"]["queued"], 50);
    let receipt = format!("/v1/receipts/{}", first["receipt"].as_str().unwrap());
    assert_eq!(proxy.get(&receipt).await.expect(200)["status"], "queued");

    proxy.set("EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS", &servers);
    proxy.restart().await;
    until("the first is delivered", async || proxy.get(&receipt).await.expect(200)["status"] == "delivered").await;
    until("all are delivered", async || proxy.get("/v1/ledger").await.expect(200)["order.paid"]["queued"] == 0).await;
    let stored = on_kafka(&kafka, 3).await;
    assert!(stored.iter().all(|numbers| numbers.is_sorted()), "{stored:?}");
    let mut all = stored.concat();
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
    assert_eq!(proxy.get("/readyz").await.expect(200)["degraded"], Value::Null);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_nobody_waits_for_it() {
    let mut proxy = TestProxy::start(&[]).await;
    let asked = proxy.post("?ack=kafka", "application/json", event(0).to_string());
    reply(asked).await.expect_problem(400, "invalid-query");
    proxy.json(event(0)).await.expect(202);
    let ledger = proxy.get("/v1/ledger").await.expect(200);
    let all = json!({ "accepted": 1, "delivered": 1, "queued": 0, "retrying": 0, "dead": 0, "discarded": 0 });
    assert_eq!(ledger["order.paid"], all);
    proxy.stop().await;
}

/// A reader that skips duplicates by log, epoch and position has every event, also of what the log has lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_copied_back_gives_positions_again_in_a_new_epoch() {
    let Some((kafka, settings)) = place() else { return };
    let mut proxy = start(&settings, &[]).await;
    let data = proxy.proxy.settings.data_dir.clone();
    let backup = tempfile::tempdir().unwrap();
    for (round, (from, to)) in [(&*data, backup.path()), (backup.path(), &*data)].into_iter().enumerate() {
        take(&proxy, round * 10..round * 10 + 10).await;
        proxy.stop().await;
        // the write-ahead log belongs to the file, and the stopped proxy still has both open
        for name in ["log.db", "log.db-wal", "log.db-shm"] {
            let _ = fs::remove_file(to.join(name));
        }
        for name in ["log.db", "log.db-wal"] {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
        proxy.start_again().await;
    }
    take(&proxy, 20..30).await;
    until("all that the log has is delivered", async || {
        let ledger = proxy.get("/v1/ledger").await.expect(200);
        ledger["order.paid"]["accepted"] == 20 && ledger["order.paid"]["delivered"] == 20
    })
    .await;
    let (mut read, mut places) = (HashMap::new(), BTreeSet::new());
    for partition in 0..3 {
        for event in kafka.records("order.paid", partition).await.unwrap() {
            let payload = event.payload.clone();
            let known = read.entry((event.source, event.epoch, partition, event.position)).or_insert(event.payload);
            assert_eq!(*known, payload, "a position of one epoch has one event");
            places.insert((partition, event.position));
        }
    }
    let number = |payload: &String| serde_json::from_str::<Value>(payload).unwrap()["data"].as_u64().unwrap();
    let numbers: BTreeSet<u64> = read.values().map(number).collect();
    assert_eq!((read.len(), numbers), (30, (0..30).collect()));
    assert!(places.len() < 30, "positions were given again");
    proxy.stop().await;
}

/// Posts events, and waits until Kafka has them.
async fn take(proxy: &TestProxy, numbers: std::ops::Range<usize>) {
    for n in numbers {
        reply(proxy.post("?ack=kafka", "application/json", event(n).to_string())).await.expect(200);
    }
}
