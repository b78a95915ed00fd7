//! Benchmarks: what the shop reaches on this machine, as ratios against limits measured in the same run.
//!
//! Load and server share the machine, and the load is bounded: one round takes some two minutes.

mod client;
mod limit;
mod load;
mod postgres;
mod proxy;
mod relay;
mod report;
mod stand;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use report::{Figures, line, ratio};
use runtime::Role;
use stand::Stand;
use telemetry::{LogFormat, LogSettings, Process, metrics};

/// As the programs that are measured have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 64;
const PRODUCTS: usize = 1000;
/// Seconds in which coupon requests come as fast as they can, and the quiet time between them.
const SPIKES: usize = 4;
const BETWEEN_SPIKES: Duration = Duration::from_secs(4);
/// Coupons that requests of many coupons are for.
const COUPONS: usize = 16;
/// Requests a second that the issuer is held to.
const STEADY: u32 = 2000;

/// Measures the shop on the embedded database, or the event proxy.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Only the parts whose name contains this: limit, hot, sustained, latency, product, coupon; with Kafka relay,
    /// purchases, coupon, workers, spikes.
    #[arg(long, default_value = "")]
    only: String,
    /// Measures with PostgreSQL and Kafka instead: an empty database, postgres://…
    #[arg(long, requires = "kafka")]
    database_url: Option<String>,
    /// The cluster, host:port,…
    #[arg(long, requires = "database_url")]
    kafka: Option<String>,
}

/// What is measured instead of the shop.
#[derive(Subcommand)]
enum Other {
    /// The event proxy, as a process.
    Proxy(proxy::Options),
    /// Serves the handler that the proxy is measured against.
    #[command(hide = true)]
    Bare,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let options = Options::parse();
    let log = LogSettings { format: LogFormat::Pretty, filter: "warn".into() };
    let process = Process { name: "bench", data_dir: Path::new(".") };
    let _telemetry = telemetry::init(process, &log, None, None).expect("logs and metrics");
    match options.other {
        Some(Other::Proxy(options)) => return proxy::run(options).await,
        Some(Other::Bare) => return proxy::serve_bare().await.expect("a free port"),
        None => {}
    }
    let time = Duration::from_secs(options.seconds);
    if let (Some(database_url), Some(servers)) = (&options.database_url, &options.kafka) {
        if "relay".contains(&options.only) {
            relay::run(database_url, servers, options.seconds).await;
        }
        let prefix = format!("bench-{}-", uuid::Uuid::new_v4().simple());
        let there = [
            ("SHOP__DATABASE__URL", database_url.as_str()),
            ("SHOP__BUS__BACKEND", "kafka"),
            ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", servers),
            ("SHOP__BUS__KAFKA__PREFIX", &prefix),
        ];
        if "purchases".contains(&options.only) {
            postgres::purchases(&there, database_url, time).await;
        }
        if "coupon".contains(&options.only) {
            coupon(time, Stand::open_with(&there, [Role::Shop]).await).await;
        }
        if "workers".contains(&options.only) {
            for count in 1..=4 {
                workers(&there, count).await;
            }
        }
        if "spikes".contains(&options.only) {
            spikes(&there).await;
        }
        return;
    }
    let runs = |part: &str| part.contains(&options.only);
    if runs("limit") {
        let sql = limit::purchases_without_http(PRODUCTS, CONNECTIONS, options.seconds).await;
        line("purchases: the same SQL without HTTP", &sql);
        let burst = purchases(PRODUCTS, time).await;
        line("purchases: burst", &burst);
        ratio("purchases: burst to SQL", burst.per_second() / sql.per_second(), 0.6);
    }
    if runs("hot") {
        let sql = limit::purchases_without_http(1, CONNECTIONS, options.seconds).await;
        line("purchases of one product: SQL without HTTP", &sql);
        let hot = purchases(1, time).await;
        line("purchases of one product: burst", &hot);
        ratio("purchases of one product: burst to SQL", hot.per_second() / sql.per_second(), 0.6);
    }
    if runs("sustained") {
        sustained(time).await;
    }
    if runs("latency") {
        latency(time).await;
    }
    if runs("product") {
        product(time).await;
    }
    if runs("coupon") {
        coupon(time, Stand::open(true).await).await;
    }
}

async fn purchases(products: usize, time: Duration) -> Figures {
    let stand = Stand::open(false).await;
    let (products, buyers) = (stand.products(products).await, stand.buyers(CONNECTIONS).await);
    let figures = load::purchases(&stand.address, buyers, &products, time, None).await;
    stand.close().await;
    figures
}

/// Counts only when every group has handled everything two seconds after the load ends.
async fn sustained(time: Duration) {
    let stand = Stand::open(true).await;
    let (products, buyers) = (stand.products(PRODUCTS).await, stand.buyers(CONNECTIONS).await);
    let figures = load::purchases(&stand.address, buyers, &products, time * 2, None).await;
    let behind = stand.lag().await;
    let caught_up = stand.catch_up(Duration::from_secs(2)).await;
    line("purchases: sustained, all consumers", &figures);
    match caught_up {
        Some(after) => {
            println!("{:<44} {behind} events behind at the end, none {:.2} s later", "", after.as_secs_f64());
        }
        None => println!("{:<44} NOT COUNTED: {} events behind after 2 s", "", stand.lag().await),
    }
    let counted = if caught_up.is_some() { figures.per_second() } else { 0.0 };
    ratio("purchases: sustained, in thousands a second", counted / 1000.0, 3.0);
    stand.close().await;
}

/// From an event's place in its unit of work, before the commit, to its having been handled.
async fn latency(time: Duration) {
    let stand = Stand::open(true).await;
    let (products, buyers) = (stand.products(PRODUCTS).await, stand.buyers(CONNECTIONS).await);
    let before = Delays::now();
    let figures = load::purchases(&stand.address, buyers, &products, time, Some(500.0)).await;
    stand.catch_up(Duration::from_secs(2)).await;
    let delays = Delays::now().since(&before);
    line("purchases: 500 a second", &figures);
    println!("{:<44} {}", "commit to handled: batches within", delays);
    ratio("commit to handled: share within 5 ms", delays.share_within(0.005), 0.5);
    ratio("commit to handled: share within 20 ms", delays.share_within(0.02), 0.99);
    stand.close().await;
}

async fn product(time: Duration) {
    let bare_address = limit::serve_bare();
    let bare = load::requests(&bare_address, CONNECTIONS, "GET", "/", vec![String::new()], 200, time).await;
    line("GET: a bare handler", &bare);
    let stand = Stand::open(false).await;
    let product = stand.products(PRODUCTS).await[0];
    let path = format!("/api/v1/products/{product}");
    let figures = load::requests(&stand.address, CONNECTIONS, "GET", &path, vec![String::new()], 200, time).await;
    line("GET: product by id", &figures);
    ratio("GET: product by id to the bare handler", figures.per_second() / bare.per_second(), 0.5);
    stand.close().await;
}

async fn coupon(time: Duration, stand: Stand) {
    let bare_address = limit::serve_bare();
    let bare = load::requests(&bare_address, CONNECTIONS, "POST", "/", vec![String::new()], 202, time).await;
    line("POST: a bare handler", &bare);
    let headers = authorizations(&stand).await;
    let open = coupons(&stand, 1_000_000).await;
    let path = format!("/api/v1/coupons/{open}/issue-requests");
    let accepted = load::requests(&stand.address, CONNECTIONS, "POST", &path, headers.clone(), 202, time).await;
    line("POST: coupon requests, durable", &accepted);
    ratio("POST: coupon requests to the bare handler", accepted.per_second() / bare.per_second(), 0.2);
    let few = coupons(&stand, 1).await;
    let path = format!("/api/v1/coupons/{few}/issue-requests");
    load::requests(&stand.address, 1, "POST", &path, headers.clone(), 202, Duration::from_millis(1)).await;
    stand.catch_up(Duration::from_secs(30)).await;
    // the answer comes from memory once the state of the coupon was looked up again
    tokio::time::sleep(Duration::from_secs(1)).await;
    // all but the first buyer, who holds the coupon and is told so
    let sold_out = load::requests(&stand.address, CONNECTIONS, "POST", &path, headers[1..].to_vec(), 409, time).await;
    line("POST: coupon requests, sold out", &sold_out);
    ratio("POST: sold out to the bare handler", sold_out.per_second() / bare.per_second(), 0.5);
    stand.close().await;
}

async fn authorizations(stand: &Stand) -> Vec<String> {
    let buyers = stand.buyers(CONNECTIONS).await;
    buyers.iter().map(|buyer| format!("Authorization: Bearer {}\r\n", buyer.token)).collect()
}

/// Requests for many coupons wait, and issuers work through them side by side. All are in this process; each has a lease
/// and a client of its own.
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

/// Requests come in spikes, and an issuer that is held to [`STEADY`] works through them; a line a second, for a chart.
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

async fn coupons(stand: &Stand, quantity: i64) -> contracts::CouponId {
    let unit = move |tx: &mut db::Tx<'_>| {
        let new = coupon::NewCoupon {
            name: "bench".into(),
            discount: coupon::Discount::Amount(contracts::Money::from_minor(1000)),
            min_order: contracts::Money::ZERO,
            quantity,
            opens_at: None,
            closes_at: None,
            valid_days: None,
        };
        coupon::create(tx, &new)
    };
    stand.shop.db.write(unit).await.expect("a coupon").id
}

/// The cumulative buckets of [`metrics::CONSUMER_DELAY_SECONDS`].
struct Delays(Vec<(f64, f64)>);

impl Delays {
    /// Of all groups together.
    fn now() -> Self {
        let mut buckets = std::collections::BTreeMap::<String, f64>::new();
        let prefix = format!("{}_bucket{{", metrics::CONSUMER_DELAY_SECONDS.name);
        let rendered = telemetry::metrics::render();
        for line in rendered.lines().filter(|line| line.starts_with(&prefix)) {
            let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
            if let (Some(bound), Some(count)) = (bound, count) {
                *buckets.entry(bound.to_owned()).or_default() += count;
            }
        }
        let number = |bound: &str| bound.parse().unwrap_or(f64::INFINITY);
        let mut buckets: Vec<_> = buckets.iter().map(|(bound, count)| (number(bound), *count)).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(buckets)
    }

    fn since(self, before: &Self) -> Self {
        let earlier = |bound: f64| before.0.iter().find(|(same, _)| *same == bound).map_or(0.0, |(_, count)| *count);
        Self(self.0.into_iter().map(|(bound, count)| (bound, count - earlier(bound))).collect())
    }

    fn share_within(&self, seconds: f64) -> f64 {
        let within = self.0.iter().rfind(|(bound, _)| *bound <= seconds).map_or(0.0, |(_, count)| *count);
        within / self.0.last().map_or(f64::NAN, |(_, all)| *all)
    }
}

impl std::fmt::Display for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for bound in [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1] {
            write!(f, "{} ms {:.1} %  ", bound * 1000.0, self.share_within(bound) * 100.0)?;
        }
        Ok(())
    }
}
