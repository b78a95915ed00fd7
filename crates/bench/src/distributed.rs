//! Measures the shop with PostgreSQL and Kafka, and the path between the two.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contracts::topics;
use runtime::Role;

use crate::observe::{Fresh, Observer, Postgres};
use crate::proxy::Broker;
use crate::stand::Stand;
use crate::{CONNECTIONS, authorizations, coupon, coupons, load, postgres, relay};

/// Seconds of full load with coupon requests, and the quiet time between two spikes.
const SPIKES: usize = 4;
const BETWEEN_SPIKES: Duration = Duration::from_secs(4);
/// Number of coupons for requests of many coupons.
const COUPONS: usize = 16;
/// Rate limit of the issuer, in requests a second.
const STEADY: u32 = 2000;
/// Partitions of an idle shop, over all topics.
const MANY: usize = 1000;
/// Time for taking leases and for the work of a start.
const SETTLE: Duration = Duration::from_secs(15);

/// The servers of a measurement.
#[derive(clap::Args)]
pub(crate) struct Servers {
    /// Measures with PostgreSQL and Kafka instead: any database of the server, postgres://…; each run creates a new
    /// database.
    #[arg(long, required = false)]
    database_url: String,
    /// The cluster, host:port,…
    #[arg(long, requires = "database_url")]
    kafka: Option<String>,
    /// The folder of a broker started by scripts/kafka, instead of --kafka: the broker's pauses and CPU are printed.
    #[arg(long, requires = "database_url")]
    broker: Option<PathBuf>,
}

impl Servers {
    fn bootstrap(&self) -> String {
        let of_broker = || self.broker.as_deref().map(|folder| Broker::of(folder).servers);
        self.kafka.clone().or_else(of_broker).expect("--database-url needs --kafka or --broker")
    }
}

/// Runs all measurements once, or the selected parts.
pub(crate) async fn run(servers: &Servers, only: &str, time: Duration) {
    let runs = |part: &str| part.contains(only);
    let kafka = servers.bootstrap();
    if runs("relay") {
        let database = Fresh::create(&servers.database_url);
        relay::run(&database.url, &kafka, time, &observer(&database, servers)).await;
    }
    if runs("many") {
        let database = Fresh::create(&servers.database_url);
        relay::many(&database.url, &kafka, time, &observer(&database, servers)).await;
    }
    let database = Fresh::create(&servers.database_url);
    let observer = observer(&database, servers);
    let prefix = relay::new_prefix();
    let there = [
        ("SHOP__DATABASE__URL", database.url.as_str()),
        ("SHOP__BUS__BACKEND", "kafka"),
        ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", &kafka),
        ("SHOP__BUS__KAFKA__PREFIX", &prefix),
    ];
    if runs("purchases") {
        postgres::purchases(&there, &database.url, time, &observer).await;
    }
    if runs("coupon") {
        coupon(time, Stand::open_with(&there, [Role::Shop]).await, &observer).await;
    }
    if runs("workers") {
        for count in 1..=4 {
            workers(&there, count).await;
        }
    }
    if runs("spikes") {
        spikes(&there).await;
    }
    drop(database);
    if runs("idle") {
        idle(servers, &kafka, time).await;
    }
}

fn observer(database: &Fresh, servers: &Servers) -> Arc<Observer> {
    let observer = Observer::new().with_postgres(Postgres::of(&database.url));
    Arc::new(observer.with_broker(servers.broker.as_deref()))
}

/// Measures an idle shop with all consumers and some 1,000 partitions.
async fn idle(servers: &Servers, kafka: &str, time: Duration) {
    let database = Fresh::create(&servers.database_url);
    let observer = observer(&database, servers);
    let prefix = relay::new_prefix();
    let partitions = (MANY / topics::ALL.len()).to_string();
    let settings = [
        ("SHOP__DATABASE__URL", database.url.as_str()),
        ("SHOP__EVENTS__PARTITIONS", &partitions),
        ("SHOP__BUS__BACKEND", "kafka"),
        ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", kafka),
        ("SHOP__BUS__KAFKA__PREFIX", &prefix),
    ];
    let stand = Stand::open_with(&settings, [Role::Shop]).await;
    tokio::time::sleep(SETTLE).await;
    let begin = Instant::now();
    let costs = observer.between(begin, begin + time).await.expect("no panic");
    println!("idle: {} topics of {partitions} partitions", topics::ALL.len());
    costs.print_idle("idle");
    stand.close().await;
}

/// Measures issuers that work through waiting requests for many coupons side by side. All issuers run in this
/// process; each has a lease and a client.
async fn workers(there: &[(&str, &str)], count: usize) {
    let settings: Vec<_> = there.iter().copied().chain([("SHOP__HOST__CONSUMERS", "false")]).collect();
    let stand = Stand::open_with(&settings, [Role::Shop]).await;
    let headers = authorizations(&stand).await;
    let mut many = Vec::new();
    for _ in 0..COUPONS {
        many.push(format!("/api/v1/coupons/{}/issue-requests", coupons(&stand, 1_000_000).await));
    }
    // a group that is known has a lag
    let issuer = || Role::Consumer(vec![consumers::coupon_issuer::group(Default::default())]);
    stand.shop.host_as(issuer()).await.expect("an issuer").stop(Duration::from_secs(30)).await;
    let share = Duration::from_secs(4) / COUPONS as u32;
    for path in &many {
        load::requests(&stand.address, CONNECTIONS, "POST", path, headers.clone(), 202, share).await;
    }
    let waiting = stand.lag_of(consumers::coupon_issuer::GROUP).await;
    let begun = Instant::now();
    let mut hosted = Vec::new();
    for _ in 0..count {
        hosted.push(stand.shop.host_as(issuer()).await.expect("an issuer"));
    }
    while stand.lag_of(consumers::coupon_issuer::GROUP).await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = waiting as f64 / begun.elapsed().as_secs_f64();
    println!("{:<44} {rate:>8.0}/s   {waiting} requests", format!("coupon requests handled by {count} issuers"));
    for hosted in hosted {
        hosted.stop(Duration::from_secs(30)).await;
    }
    stand.close().await;
}

/// Measures spikes of requests with an issuer limited to [`STEADY`]; prints one line a second, for a chart.
async fn spikes(there: &[(&str, &str)]) {
    let steady = STEADY.to_string();
    let mut settings = there.to_vec();
    settings.extend([("SHOP__HOST__CONSUMERS", "false"), ("SHOP__WORKER__EVENTS_PER_SECOND", &*steady)]);
    let issuer = consumers::coupon_issuer::group(Default::default());
    let stand = Stand::open_with(&settings, [Role::Shop, Role::Consumer(vec![issuer])]).await;
    let headers = authorizations(&stand).await;
    let path = format!("/api/v1/coupons/{}/issue-requests", coupons(&stand, 1_000_000).await);
    let address = stand.address.clone();
    let load = tokio::spawn(async move {
        for _ in 0..SPIKES {
            load::requests(&address, CONNECTIONS, "POST", &path, headers.clone(), 202, Duration::from_secs(1)).await;
            tokio::time::sleep(BETWEEN_SPIKES).await;
        }
    });
    println!("second  taken/s  handled/s  waiting");
    let (mut second, mut before) = (tokio::time::interval(Duration::from_secs(1)), (0, 0));
    second.tick().await;
    for number in 1_u32.. {
        second.tick().await;
        let rows = stand.shop.lags().await.expect("the lag");
        let issuer = || rows.iter().filter(|row| row.group == consumers::coupon_issuer::GROUP);
        let taken: i64 = issuer().map(|row| row.end + 1).sum();
        let waiting: i64 = issuer().map(|row| row.lag).sum();
        let handled = taken - waiting;
        println!("{number:>6}  {:>7}  {:>9}  {waiting:>7}", taken - before.0, handled - before.1);
        before = (taken, handled);
        if load.is_finished() && waiting == 0 {
            break;
        }
    }
    load.await.expect("no panic");
    stand.close().await;
}
