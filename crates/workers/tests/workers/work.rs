//! Workers at work, beside a shop without background work.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use runtime::programs::Worker;

use crate::process::{Market, Process, eventually, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_do_what_the_shop_leaves_to_them() {
    let Some(place) = postgres().await else { return };
    let market = Market::open(&place).await;
    let workers: Vec<_> =
        Worker::all().iter().map(|worker| (&worker.name, Process::start(&worker.name, &place.url, &[]))).collect();
    for (_, worker) in &workers {
        worker.is_ready().await;
    }
    for _ in 0..3 {
        market.purchase().await;
    }
    let groups: BTreeSet<_> = market.lags().await.into_iter().map(|lag| lag.group).collect();
    let expected = market.shop.groups.iter().map(|group| group.name.to_owned()).collect();
    assert_eq!(groups, expected, "each group has its worker");
    market.all_is_handled(3 * 9).await;
    let wrong = market.shop.db.read(checkout::audit).await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    for (name, worker) in workers {
        assert_eq!(worker.data_dir().exists(), *name == "data-platform", "{name} keeps no secret of tokens");
        assert!(!worker.data_dir().join("token-secret").exists());
        let problems: Vec<_> = worker.log().into_iter().filter(|line| line["level"] != "INFO").collect();
        assert!(problems.is_empty(), "{name}: {problems:?}");
        assert_eq!(worker.terminate().await, Some(0), "{name}");
    }
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_a_worker_share_and_one_takes_over_from_the_other() {
    let Some(place) = postgres().await else { return };
    let market = Market::open(&place).await;
    let workers = [(); 2].map(|()| Process::start("settlement", &place.url, &[]));
    let of_settlement = r#"consumer_events_total{group="settlement""#;
    let mut purchases = 0;
    eventually("both handle", async || {
        for _ in 0..8 {
            market.purchase().await;
            purchases += 1;
        }
        let handled = [workers[0].metric(of_settlement).await, workers[1].metric(of_settlement).await];
        (handled[0] > 0.0 && handled[1] > 0.0).then_some(())
    })
    .await;
    let [first, second] = workers;
    assert_eq!(first.terminate().await, Some(0));
    let asked = Instant::now();
    for _ in 0..8 {
        market.purchase().await;
        purchases += 1;
    }
    market.all_is_handled(purchases).await;
    assert!(asked.elapsed() < Duration::from_secs(9), "what was let go is taken before a lease would run out");
    let (from, to) = ("2000-01-01".parse().unwrap(), "2999-12-31".parse().unwrap());
    let settled = market.shop.db.read(move |conn| consumers::settlement::days(conn, from, to)).await.unwrap();
    assert_eq!(settled.iter().map(|day| day.payments).sum::<i64>(), purchases, "each once");
    assert_eq!(second.terminate().await, Some(0));
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_smooths_what_a_worker_does() {
    let Some(place) = postgres().await else { return };
    let market = Market::open(&place).await;
    for _ in 0..40 {
        market.purchase().await;
    }
    let begun = Instant::now();
    let worker = Process::start("settlement", &place.url, &[("SHOP__WORKER__EVENTS_PER_SECOND", "20")]);
    market.all_is_handled(40).await;
    assert!(begun.elapsed() > Duration::from_millis(1900), "40 events at 20 a second");
    assert_eq!(worker.terminate().await, Some(0));
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_describes_its_metrics() {
    let Some(place) = postgres().await else { return };
    let market = Market::open(&place).await;
    let worker = Process::start("analytics", &place.url, &[]);
    market.purchase().await;
    eventually("it handles events", async || {
        (worker.metric(r#"consumer_events_total{group="analytics",outcome="handled"}"#).await > 0.0).then_some(())
    })
    .await;
    let (_, text) = worker.get("/metrics").await;
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no HELP");
    }
    for begin in [r#"build_info{program="analytics",version=""#, "process_open_fds "] {
        assert!(text.lines().any(|line| line.starts_with(begin)), "{begin} in\n{text}");
    }
    assert_eq!(worker.terminate().await, Some(0));
    market.close().await;
}
