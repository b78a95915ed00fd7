//! Benchmarks: the shop's figures on this machine, as ratios against limits measured in the same run.
//!
//! Load and server share the machine, and the load is bounded: one round takes some six minutes.

mod client;
mod compare;
mod delays;
mod distributed;
mod limit;
mod load;
mod observe;
mod postgres;
mod proxy;
mod relay;
mod report;
mod stand;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use delays::Delays;
use observe::Observer;
use report::{Figures, line, ratio, spread};
use stand::Stand;
use telemetry::{LogFormat, LogSettings, Process};

/// Allocator of the measured programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 64;
const PRODUCTS: usize = 1000;

/// Measures the shop on the embedded database, or the event proxy.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Measures everything so many times, and prints the spread of each value.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Runs only the parts with this text in the name: limit, hot, sustained, latency, product, coupon; with Kafka
    /// relay, many, idle, purchases, coupon, workers, spikes.
    #[arg(long, default_value = "")]
    only: String,
    #[command(flatten)]
    servers: Option<distributed::Servers>,
}

/// Measurements without the shop.
#[derive(Subcommand)]
enum Other {
    /// The event proxy, as a process.
    Proxy(proxy::Options),
    /// Measures a program that copies events from PostgreSQL to Kafka.
    Compare(compare::Options),
    /// Serves the bare handler, the reference for the proxy.
    #[command(hide = true)]
    Bare,
    /// Runs the relay, the reference for other programs.
    #[command(hide = true)]
    Relay,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let options = Options::parse();
    let log = LogSettings { format: LogFormat::Pretty, filter: "warn".into() };
    let process = Process { name: "bench", data_dir: Path::new(".") };
    let _telemetry = telemetry::init(process, &log, None, None).expect("logs and metrics");
    match options.other {
        Some(Other::Proxy(options)) => return proxy::run(options).await,
        Some(Other::Compare(options)) => return compare::run(options).await,
        Some(Other::Bare) => return proxy::serve_bare().await.expect("a free port"),
        Some(Other::Relay) => return compare::relay().await,
        None => {}
    }
    let time = Duration::from_secs(options.seconds);
    for _ in 0..options.runs {
        match &options.servers {
            Some(servers) => distributed::run(servers, &options.only, time).await,
            None => run(&options.only, time).await,
        }
    }
    spread(options.runs);
}

/// Measures the shop on the embedded database.
async fn run(only: &str, time: Duration) {
    let observer = Arc::new(Observer::new());
    let runs = |part: &str| part.contains(only);
    if runs("limit") {
        let sql = limit::purchases_without_http(PRODUCTS, CONNECTIONS, time).await;
        line("purchases: the same SQL without HTTP", &sql);
        let burst = purchases("purchases: burst", PRODUCTS, time, &observer).await;
        ratio("purchases: burst to SQL", burst.per_second() / sql.per_second(), 0.6);
    }
    if runs("hot") {
        let sql = limit::purchases_without_http(1, CONNECTIONS, time).await;
        line("purchases of one product: SQL without HTTP", &sql);
        let hot = purchases("purchases of one product: burst", 1, time, &observer).await;
        ratio("purchases of one product: burst to SQL", hot.per_second() / sql.per_second(), 0.6);
    }
    if runs("sustained") {
        sustained(time, &observer).await;
    }
    if runs("latency") {
        latency(time, &observer).await;
    }
    if runs("product") {
        product(time, &observer).await;
    }
    if runs("coupon") {
        coupon(time, Stand::open(true).await, &observer).await;
    }
}

async fn purchases(what: &str, products: usize, time: Duration, observer: &Arc<Observer>) -> Figures {
    let stand = Stand::open(false).await;
    let (products, buyers) = (stand.products(products).await, stand.buyers(CONNECTIONS).await);
    let load = load::purchases(&stand.address, buyers, &products, time, None);
    let figures = observer.row(what, "purchase", load).await;
    stand.close().await;
    figures
}

/// Counts only when every group has handled everything two seconds after the load ends.
async fn sustained(time: Duration, observer: &Arc<Observer>) {
    let stand = Stand::open(true).await;
    let (products, buyers) = (stand.products(PRODUCTS).await, stand.buyers(CONNECTIONS).await);
    let window = observer.begin();
    let figures = load::purchases(&stand.address, buyers, &products, time, None).await;
    let costs = window.end();
    let behind = stand.lag().await;
    let caught_up = stand.catch_up(Duration::from_secs(2)).await;
    line("purchases: sustained, all consumers", &figures);
    costs.print("purchases: sustained, all consumers", figures.count(), "purchase");
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

/// Measures the time from an event's place in the unit of work, before the commit, to the end of handling.
async fn latency(time: Duration, observer: &Arc<Observer>) {
    let stand = Stand::open(true).await;
    let (products, buyers) = (stand.products(PRODUCTS).await, stand.buyers(CONNECTIONS).await);
    let before = Delays::now();
    let load = load::purchases(&stand.address, buyers, &products, time, Some(500.0));
    observer.row("purchases: 500 a second", "purchase", load).await;
    stand.catch_up(Duration::from_secs(2)).await;
    let delays = Delays::now().since(&before);
    println!("{:<44} {}", "commit to handled: batches within", delays);
    ratio("commit to handled: share within 5 ms", delays.share_within(0.005), 0.5);
    ratio("commit to handled: share within 20 ms", delays.share_within(0.02), 0.99);
    stand.close().await;
}

async fn product(time: Duration, observer: &Arc<Observer>) {
    let bare_address = limit::serve_bare();
    let bare = load::requests(&bare_address, CONNECTIONS, "GET", "/", vec![String::new()], 200, time).await;
    line("GET: a bare handler", &bare);
    let stand = Stand::open(false).await;
    let product = stand.products(PRODUCTS).await[0];
    let path = format!("/api/v1/products/{product}");
    let load = load::requests(&stand.address, CONNECTIONS, "GET", &path, vec![String::new()], 200, time);
    let figures = observer.row("GET: product by id", "request", load).await;
    ratio("GET: product by id to the bare handler", figures.per_second() / bare.per_second(), 0.5);
    stand.close().await;
}

async fn coupon(time: Duration, stand: Stand, observer: &Arc<Observer>) {
    let bare_address = limit::serve_bare();
    let bare = load::requests(&bare_address, CONNECTIONS, "POST", "/", vec![String::new()], 202, time).await;
    line("POST: a bare handler", &bare);
    let headers = authorizations(&stand).await;
    let open = coupons(&stand, 1_000_000).await;
    let path = format!("/api/v1/coupons/{open}/issue-requests");
    let load = load::requests(&stand.address, CONNECTIONS, "POST", &path, headers.clone(), 202, time);
    let accepted = observer.row("POST: coupon requests, durable", "request", load).await;
    ratio("POST: coupon requests to the bare handler", accepted.per_second() / bare.per_second(), 0.2);
    let few = coupons(&stand, 1).await;
    let path = format!("/api/v1/coupons/{few}/issue-requests");
    load::requests(&stand.address, 1, "POST", &path, headers.clone(), 202, Duration::from_millis(1)).await;
    stand.catch_up(Duration::from_secs(30)).await;
    // the answer comes from memory once the state of the coupon was looked up again
    tokio::time::sleep(Duration::from_secs(1)).await;
    // all but the first buyer, who holds the coupon and is told so
    let load = load::requests(&stand.address, CONNECTIONS, "POST", &path, headers[1..].to_vec(), 409, time);
    let sold_out = observer.row("POST: coupon requests, sold out", "request", load).await;
    ratio("POST: sold out to the bare handler", sold_out.per_second() / bare.per_second(), 0.5);
    stand.close().await;
}

async fn authorizations(stand: &Stand) -> Vec<String> {
    let buyers = stand.buyers(CONNECTIONS).await;
    buyers.iter().map(|buyer| format!("Authorization: Bearer {}\r\n", buyer.token)).collect()
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
