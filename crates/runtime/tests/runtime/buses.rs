//! Topics on their buses, by the settings and by the record in the database. Kafka is unavailable here.

use contracts::topics;
use messaging::admin::{self, ConsumerLag, PartitionStatus};
use runtime::settings::{Backend, Settings};
use runtime::{Role, Shop, recorded_buses};
use tempfile::TempDir;
use testkit::Place;

use crate::hosting::{DEADLINE, eventually, order, product};
use crate::opening::{opened_again, settings};

/// Returns settings with orders on an unavailable Kafka.
fn with_kafka(folder: &TempDir, place: &Place) -> Settings {
    let mut settings = settings(folder.path(), &place.url);
    settings.bus.topics.insert(topics::ORDER_CREATED.into(), Backend::Kafka);
    settings.bus.kafka.bootstrap_servers = Some("127.0.0.1:1".into());
    settings
}

async fn of_orders(shop: &Shop) -> Vec<PartitionStatus> {
    let partitions = shop.db.read(admin::partitions).await.unwrap();
    partitions.into_iter().filter(|partition| partition.topic == topics::ORDER_CREATED).collect()
}

async fn recorded(shop: &Shop) -> String {
    let buses = shop.db.read(recorded_buses).await.unwrap();
    assert_eq!((buses.len(), &*buses[topics::STOCK_LOW]), (topics::ALL.len(), "in-process"));
    buses[topics::ORDER_CREATED].clone()
}

async fn lags(shop: &Shop) -> Vec<ConsumerLag> {
    shop.lags().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_waits_for_kafka_and_goes_on_when_it_is_moved_back() {
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let shop = Shop::open(with_kafka(&folder, &place)).await.unwrap();
        assert!(shop.db.read(recorded_buses).await.unwrap().is_empty(), "{}: opening changes nothing", place.name);
        let hosted = shop.host().await.unwrap();
        assert_eq!(recorded(&shop).await, "kafka");
        let product = product(&shop, 5).await;
        order(&shop, product, 1).await;
        eventually("all that is not on Kafka is handled", || async {
            let lags = lags(&shop).await;
            let handled = |lag: &ConsumerLag| (lag.lag == 0) == (lag.topic != topics::ORDER_CREATED || lag.end < 0);
            lags.iter().any(|lag| lag.topic == topics::STOCK_DEDUCTED && lag.end == 0) && lags.iter().all(handled)
        })
        .await;
        let to_relay: i64 = of_orders(&shop).await.iter().filter_map(|partition| partition.to_relay).sum();
        assert_eq!(to_relay, 1, "{}", place.name);
        eventually("it is told", || async {
            let degraded = shop.degraded();
            assert_eq!(degraded.len(), 1, "{}: {degraded:?}", place.name);
            degraded[0].starts_with("kafka: 127.0.0.1:1: ") && !degraded[0].contains("not asked")
        })
        .await;
        shop.check_database().await.unwrap();
        assert!(hosted.stop(DEADLINE).await, "{}: it stopped in time", place.name);
        shop.close().await;
        drop(shop);

        let shop = opened_again(settings(folder.path(), &place.url)).await;
        let hosted = shop.host().await.unwrap();
        assert_eq!(recorded(&shop).await, "in-process");
        eventually("all is handled", || async { lags(&shop).await.iter().all(|lag| lag.lag == 0) }).await;
        assert!(of_orders(&shop).await.iter().all(|partition| partition.to_relay.is_none()), "nothing is kept for it");
        assert!(shop.degraded().is_empty());
        assert_eq!(hosted.alarms(), 0, "{}", place.name);
        assert!(hosted.stop(DEADLINE).await, "{}: it stopped in time", place.name);
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_leaves_to_workers_what_the_settings_say() {
    let Some(place) = testkit::places().await.into_iter().find(|place| place.name == "PostgreSQL") else { return };
    let folder = TempDir::new().unwrap();
    let mut settings = with_kafka(&folder, &place);
    (settings.host.consumers, settings.host.relay) = (false, false);
    let shop = Shop::open(settings).await.unwrap();
    let hosted = shop.host().await.unwrap();
    let product = product(&shop, 5).await;
    order(&shop, product, 1).await;
    eventually("it has its position", || async { of_orders(&shop).await.iter().any(|partition| partition.end == 0) })
        .await;
    let to_relay: i64 = of_orders(&shop).await.iter().filter_map(|partition| partition.to_relay).sum();
    assert_eq!(to_relay, 1, "the log keeps it for whoever relays");
    assert!(lags(&shop).await.is_empty(), "no group is there");

    let of = |name: &str| Role::Consumer(shop.groups.iter().filter(|group| group.name == name).cloned().collect());
    assert!(shop.needs_kafka(&of("delivery")) && !shop.needs_kafka(&of("replenishment")));
    assert!(shop.needs_kafka(&Role::Relay) && !shop.needs_kafka(&Role::Shop));
    let worker = shop.host_as(of("replenishment")).await.unwrap();
    eventually("its group handles", || async {
        let lags = lags(&shop).await;
        assert!(lags.iter().all(|lag| lag.group == "replenishment"), "{lags:?}");
        !lags.is_empty() && lags.iter().all(|lag| lag.lag == 0)
    })
    .await;
    assert!(worker.stop(DEADLINE).await && hosted.stop(DEADLINE).await);
    shop.close().await;
}
