//! The event proxy against a bare handler that parses the same bodies, and against librdkafka alone; load, proxy and
//! one broker on the same machine.

mod bare;
mod bodies;
mod direct;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bare::Bare;
pub(crate) use bare::serve as serve_bare;
use bodies::{BATCH, LINES, SINGLE, Shape};
use direct::Direct;
pub(crate) use process::Broker;
use process::Proxy;

use crate::load;
use crate::observe::Observer;
use crate::report::{Figures, at_most, line, rate, ratio, spread};

const WARM_UP: Duration = Duration::from_secs(1);
/// Events a second, for latencies.
const PACE: f64 = 5000.0;
/// Events a second while Kafka is away.
const AWAY_PACE: f64 = 2000.0;
const ACCEPTED: u16 = 202;
const CONFIRMED: u16 = 200;

/// Options of the proxy benchmark.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Measures everything so many times, and prints the spread of each value.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Runs only the parts with this text in the name: single, batches, ndjson, latency, two, away.
    #[arg(long, default_value = "")]
    only: String,
    /// Seconds without Kafka, under continued load.
    #[arg(long, default_value_t = 20)]
    away: u64,
    /// The folder of a broker started by scripts/kafka.
    #[arg(long)]
    broker: PathBuf,
    /// The program; by default the program beside this executable.
    #[arg(long)]
    program: Option<PathBuf>,
}

/// Runs all measurements, or the selected parts.
pub(crate) async fn run(options: Options) {
    let beside = || std::env::current_exe().expect("this program").with_file_name("event-proxy");
    let bench = Bench {
        program: options.program.unwrap_or_else(beside),
        broker: Broker::of(&options.broker),
        time: Duration::from_secs(options.seconds),
        observer: Arc::new(Observer::new().with_broker(Some(&options.broker))),
    };
    for _ in 0..options.runs {
        bench.run(&options.only, Duration::from_secs(options.away)).await;
    }
    spread(options.runs);
}

struct Bench {
    program: PathBuf,
    broker: Broker,
    time: Duration,
    observer: Arc<Observer>,
}

impl Bench {
    async fn run(&self, only: &str, away: Duration) {
        let runs = |part: &str| part.contains(only);
        if runs("single") {
            self.single().await;
        }
        if runs("batches") {
            self.many("arrays of 100", BATCH, Some(170.0)).await;
        }
        if runs("ndjson") {
            self.many("NDJSON", LINES, None).await;
        }
        if runs("latency") {
            self.latency().await;
        }
        if runs("two") {
            self.two().await;
        }
        if runs("away") {
            self.away(away).await;
        }
    }

    fn proxy(&self) -> Proxy {
        self.proxy_as("proxy")
    }

    fn proxy_as(&self, name: &'static str) -> Proxy {
        let proxy = Proxy::start(&self.program, &self.broker.servers);
        self.observer.set_process(name, proxy.id());
        proxy
    }

    async fn single(&self) {
        let bare = self.bare("events", SINGLE).await;
        let memory = self.post("memory", "events, ack=memory", SINGLE, ACCEPTED).await;
        let disk = self.post("disk", "events, ack=disk", SINGLE, ACCEPTED).await;
        let kafka = self.post("kafka", "events, ack=kafka", SINGLE, CONFIRMED).await;
        let direct = Direct::open(&self.broker.servers).await.as_fast_as_it_goes().await;
        rate("events: librdkafka alone", direct);
        ratio("events, ack=memory to the bare handler", memory / bare, 0.5);
        ratio("events, ack=disk to the bare handler", disk / bare, 0.5);
        ratio("events, ack=disk, in thousands a second", disk / 1000.0, 10.0);
        ratio("events, ack=kafka, in thousands a second", kafka / 1000.0, 20.0);
        println!("{:<44} {:>8.2}", "events, ack=kafka to librdkafka alone", kafka / direct);
    }

    async fn many(&self, what: &str, shape: Shape, goal: Option<f64>) {
        let bare = self.bare(what, shape).await;
        let disk = self.post("disk", &format!("{what}, ack=disk"), shape, ACCEPTED).await;
        if let Some(goal) = goal {
            ratio(&format!("{what}, in thousands of events a second"), disk / 1000.0, goal);
        }
        println!("{:<44} {:>8.2}", format!("{what} to the bare handler"), disk / bare);
    }

    /// Events a second.
    async fn bare(&self, what: &str, shape: Shape) -> f64 {
        let bare = Bare::start();
        self.observer.set_process("bare handler", bare.id());
        let what = format!("{what}: the bare handler");
        self.load(&what, std::slice::from_ref(&bare.address), "/", shape, ACCEPTED).await.per_second()
    }

    /// Measures events a second accepted by a proxy, and the time until Kafka has all of them.
    async fn post(&self, ack: &str, what: &str, shape: Shape, expected: u16) -> f64 {
        let proxy = self.proxy();
        let path = format!("/v1/events?ack={ack}");
        let begun = Instant::now();
        let figures = self.load(what, std::slice::from_ref(&proxy.address), &path, shape, expected).await;
        let (_, behind) = proxy.ledger().await;
        let after = proxy.drained().await;
        // from the warm-up on
        let rate = proxy.ledger().await.0 as f64 / begun.elapsed().as_secs_f64();
        let later = after.as_secs_f64();
        println!("{:<44} {rate:>8.0}/s to Kafka; {behind} behind at the end, none {later:.2} s later", "");
        figures.per_second()
    }

    /// Runs the load after a warm-up without measurement.
    async fn load(&self, what: &str, addresses: &[String], path: &str, shape: Shape, expected: u16) -> Figures {
        let requests = |n| shape.requests(path, n);
        let post = |time| load::posts(addresses, shape.connections, requests, expected, time, None);
        post(WARM_UP).await;
        let counted = async {
            let mut figures = post(self.time).await;
            figures.each = shape.events as u64;
            figures
        };
        self.observer.row(what, "event", counted).await
    }

    /// Measures the latency added by the proxy over direct producing, at a pace within both capacities.
    async fn latency(&self) {
        let direct = Direct::open(&self.broker.servers).await;
        direct.paced(PACE, WARM_UP).await;
        let direct = direct.paced(PACE, self.time).await;
        line("5,000/s: librdkafka alone", &direct);
        for (ack, expected) in [("disk", ACCEPTED), ("kafka", CONFIRMED)] {
            let proxy = self.proxy();
            let (addresses, path) = ([proxy.address.clone()], format!("/v1/events?ack={ack}"));
            let requests = |n| SINGLE.requests(&path, n);
            let post = |time| load::posts(&addresses, SINGLE.connections, requests, expected, time, Some(PACE));
            post(WARM_UP).await;
            let figures = self.observer.row(&format!("5,000/s: ack={ack}"), "event", post(self.time)).await;
            let added = |percent| figures.percentile(percent) - direct.percentile(percent);
            println!("{:<44} {:>8.2} ms p50 {:>8.2} ms p99", "  more than directly", added(50.0), added(99.0));
            at_most(&format!("5,000/s: ack={ack}, p99 in ms"), figures.percentile(99.0), 20.0);
            proxy.drained().await;
        }
    }

    /// Measures the same load on one proxy and on two, with all processes on the same cores.
    async fn two(&self) {
        let mut rates = Vec::new();
        for count in 1..=2 {
            let names = ["proxy", "second proxy"].into_iter().take(count);
            let proxies: Vec<Proxy> = names.map(|name| self.proxy_as(name)).collect();
            let addresses: Vec<_> = proxies.iter().map(|proxy| proxy.address.clone()).collect();
            let what = format!("events, ack=disk, proxies: {count}");
            let figures = self.load(&what, &addresses, "/v1/events?ack=disk", SINGLE, ACCEPTED).await;
            rates.push(figures.per_second());
            for proxy in &proxies {
                proxy.drained().await;
            }
        }
        println!("{:<44} {:>8.2}", "two proxies to one", rates[1] / rates[0]);
    }

    /// Measures the proxy's memory under load without Kafka; prints a line for each tenth of the time.
    async fn away(&self, time: Duration) {
        let proxy = self.proxy();
        let addresses = [proxy.address.clone()];
        let requests = |n| SINGLE.requests("/v1/events?ack=disk", n);
        load::posts(&addresses, SINGLE.connections, requests, ACCEPTED, WARM_UP, Some(AWAY_PACE)).await;
        proxy.drained().await;
        println!("{:<44} {:>8.1} MiB", "memory, with Kafka there", proxy.memory());
        self.broker.kill();
        let begun = Instant::now();
        let posts = load::posts(&addresses, SINGLE.connections, requests, ACCEPTED, time, Some(AWAY_PACE));
        let watch = async {
            let mut memory = Vec::new();
            for tenth in 1..=10_u32 {
                tokio::time::sleep_until((begun + time * tenth / 10).into()).await;
                memory.push(proxy.memory());
                println!(
                    "{:<44} {:>8.1} MiB",
                    format!("memory, Kafka away for {:.0} s", begun.elapsed().as_secs_f64()),
                    memory[memory.len() - 1]
                );
            }
            memory
        };
        let (figures, memory) = tokio::join!(posts, watch);
        line("2,000/s while Kafka is away", &figures);
        let (_, behind) = proxy.ledger().await;
        self.broker.start();
        let later = proxy.drained().await.as_secs_f64();
        println!("{:<44} {behind} events behind; none {later:.2} s after Kafka is back", "");
        at_most("memory at the end to a fifth of the way", memory[9] / memory[1], 1.25);
    }
}
