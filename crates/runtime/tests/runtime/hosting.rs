//! A hosted shop: events reach every group, orders expire, old rows go, and the shop stops in time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use checkout::{Item, Terms};
use contracts::{MemberId, Money, OrderId, ProductId};
use order::OrderStatus;
use runtime::Shop;
use stock::NewProduct;
use tempfile::TempDir;

use crate::opening::{opened_again, settings};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_not_paid_expires_and_every_group_hears_of_it() {
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let mut settings = settings(folder.path(), &place.url);
        settings.order.expires_after = Duration::from_millis(300);
        let shop = Shop::open(settings).await.unwrap();
        let hosted = shop.host().await.unwrap();

        let product = product(&shop, 5).await;
        let order = order(&shop, product, 2).await;
        eventually("the order expires", || async {
            let order = shop.db.read(move |conn| order::get(conn, order)).await.unwrap().unwrap();
            order.status == OrderStatus::Expired
        })
        .await;
        let back = shop.db.read(move |conn| stock::get(conn, product)).await.unwrap().unwrap();
        assert_eq!(back.available, 5, "{}", place.name);
        eventually("every group has handled everything", || async {
            let lags = shop.lags().await.unwrap();
            let ended: i64 = lags.iter().map(|lag| lag.end + 1).sum();
            ended > 0 && lags.iter().all(|lag| lag.lag == 0)
        })
        .await;
        assert_eq!(hosted.alarms(), 0, "{}", place.name);
        assert!(hosted.stop(DEADLINE).await, "{}: it stopped in time", place.name);
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_shop_goes_on_where_it_was_at_the_next_start() {
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let first = Shop::open(settings(folder.path(), &place.url)).await.unwrap();
        let hosted = first.host().await.unwrap();
        assert!(hosted.stop(DEADLINE).await);
        let product = product(&first, 5).await;
        let order = order(&first, product, 1).await;
        first.close().await;
        drop(first);

        let second = opened_again(settings(folder.path(), &place.url)).await;
        let hosted = second.host().await.unwrap();
        eventually("the delivery waits for its order to be paid", || async {
            second.db.read(move |conn| consumers::delivery::of_order(conn, order)).await.unwrap().is_some()
        })
        .await;
        assert!(hosted.stop(DEADLINE).await);
        second.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_runs_until_there_is_no_more() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let left = Arc::new(AtomicUsize::new(3));
    let counted = left.clone();
    let shop = Shop::open(settings(folder.path(), &url)).await.unwrap().with_purge("leaves", move |_| {
        // a unit may run again; this one takes no part in a group that fails
        Ok(counted.fetch_sub(1, Ordering::SeqCst) > 1)
    });
    let hosted = shop.host().await.unwrap();
    eventually("nothing is left", || async { left.load(Ordering::SeqCst) == 0 }).await;
    assert!(hosted.stop(DEADLINE).await);
    assert_eq!(left.load(Ordering::SeqCst), 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_shows_in_the_metrics() {
    let log = telemetry::LogSettings { format: telemetry::LogFormat::Pretty, filter: "warn".into() };
    let process = telemetry::Process { name: "test", data_dir: std::path::Path::new(".") };
    let _guard = telemetry::init(process, &log, None, None).unwrap();
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let shop = Shop::open(settings(folder.path(), &place.url)).await.unwrap();
        let before = shop.host().await.unwrap();
        assert!(before.stop(DEADLINE).await, "the groups are registered, and gone");
        let product = product(&shop, 5).await;
        order(&shop, product, 1).await;
        eventually("the event grows old", || async {
            messaging::report_depths(&shop.db, &shop.log).await.unwrap();
            let metrics = telemetry::metrics::render();
            let value =
                |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert_eq!(value(r#"event_log_depth{topic="order-created"}"#), Some(1.0), "{}", place.name);
            value(r#"event_log_age_seconds{topic="order-created"}"#).is_some_and(|age| age > 0.0)
        })
        .await;
        shop.close().await;
    }
}

pub(crate) async fn product(shop: &Shop, stock: i64) -> ProductId {
    let new = NewProduct::new("tea", Money::from_minor(1_000), stock, 0).unwrap();
    shop.db.write(move |tx| stock::create(tx, &new)).await.unwrap().id
}

pub(crate) async fn order(shop: &Shop, product_id: ProductId, quantity: i64) -> OrderId {
    let (member, terms) = (MemberId::new(), Terms::new(shop.settings.order.expires_after));
    let items = [Item { product_id, quantity }];
    let placed = shop.db.write(move |tx| checkout::place_order(tx, member, &items, None, terms)).await;
    placed.unwrap().id
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
