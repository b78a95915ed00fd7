//! Load: a number of connections, each with one request at a time, for a fixed time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contracts::ProductId;
use tokio::time::sleep_until;

use crate::client::Client;
use crate::report::Figures;
use crate::stand::Buyer;

/// Pause of a client after a refusal.
const REFUSED: Duration = Duration::from_millis(10);

/// Buys through HTTP: order, then pay. With `per_second` purchases begin at this pace, else as fast as possible.
pub(crate) async fn purchases(
    address: &str,
    buyers: Vec<Buyer>,
    products: &[ProductId],
    time: Duration,
    per_second: Option<f64>,
) -> Figures {
    let next = Arc::new(AtomicUsize::new(0));
    let products: Arc<[ProductId]> = products.into();
    let address = address.to_owned();
    spread(
        buyers,
        move |buyer, until| {
            let (address, products, next) = (address.clone(), products.clone(), next.clone());
            async move {
                let begun = Instant::now();
                let mut client = Client::connect(&address).await.expect("a connection");
                let mut figures = Figures::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if let Some(pace) = per_second {
                        sleep_until((begun + Duration::from_secs_f64(n as f64 / pace)).into()).await;
                    }
                    if Instant::now() >= until {
                        return figures;
                    }
                    let start = Instant::now();
                    let product = products[n % products.len()];
                    if purchase(&mut client, &buyer, product, n).await {
                        figures.record(start.elapsed());
                    } else {
                        figures.failed += 1;
                    }
                }
            }
        },
        time,
    )
    .await
}

async fn purchase(client: &mut Client, buyer: &Buyer, product: ProductId, n: usize) -> bool {
    let headers = |what: &str| format!("Authorization: Bearer {}\r\nIdempotency-Key: {what}-{n}\r\n", buyer.token);
    let body = format!(r#"{{"items":[{{"product_id":"{product}","quantity":1}}]}}"#);
    let order = client.call("POST", "/api/v1/orders", &headers("order"), &body).await.expect("an answer");
    let Some(id) = order.text("id").filter(|_| order.status == 201) else { return false };
    let path = format!("/api/v1/orders/{id}/payment");
    let payment = client.call("POST", &path, &headers("pay"), "{}").await.expect("an answer");
    payment.status == 201
}

/// Repeats one request on `connections` connections.
pub(crate) async fn requests(
    address: &str,
    connections: usize,
    method: &'static str,
    path: &str,
    bodies: Vec<String>,
    expected: u16,
    time: Duration,
) -> Figures {
    let (address, path) = (address.to_owned(), path.to_owned());
    let callers: Vec<String> = (0..connections).map(|n| bodies[n % bodies.len()].clone()).collect();
    spread(
        callers,
        move |headers, until| {
            let (address, path) = (address.clone(), path.clone());
            async move {
                let mut client = Client::connect(&address).await.expect("a connection");
                let mut figures = Figures::new();
                while Instant::now() < until {
                    let start = Instant::now();
                    let reply = client.call(method, &path, &headers, if method == "POST" { "{}" } else { "" }).await;
                    let ok = reply.expect("an answer").status == expected;
                    if ok {
                        figures.record(start.elapsed());
                    } else {
                        figures.failed += 1;
                    }
                }
                figures
            }
        },
        time,
    )
    .await
}

/// Sends prepared requests on `connections` connections, spread over the addresses. With `per_second` each request
/// has a due time, and the latency counts from the due time.
pub(crate) async fn posts(
    addresses: &[String],
    connections: usize,
    requests: impl Fn(usize) -> Arc<[Vec<u8>]>,
    expected: u16,
    time: Duration,
    per_second: Option<f64>,
) -> Figures {
    let next = Arc::new(AtomicUsize::new(0));
    let callers = (0..connections).map(|n| (addresses[n % addresses.len()].clone(), requests(n))).collect();
    spread(
        callers,
        move |(address, requests), until| {
            let next = next.clone();
            async move {
                let begun = Instant::now();
                let mut client = Client::connect(&address).await.expect("a connection");
                let mut figures = Figures::new();
                for request in requests.iter().cycle() {
                    let mut start = Instant::now();
                    if let Some(pace) = per_second {
                        start = begun + Duration::from_secs_f64(next.fetch_add(1, Ordering::Relaxed) as f64 / pace);
                        sleep_until(start.into()).await;
                    }
                    if start >= until {
                        break;
                    }
                    let status = client.send(request).await.expect("an answer").status;
                    if status == expected {
                        figures.record(start.elapsed());
                        continue;
                    }
                    figures.failed += 1;
                    tokio::time::sleep(REFUSED).await;
                }
                figures
            }
        },
        time,
    )
    .await
}

/// Runs `caller` for each element of `each`, all at once, on a new thread.
async fn spread<T, F, R>(each: Vec<T>, caller: F, time: Duration) -> Figures
where
    T: Send + 'static,
    F: Fn(T, Instant) -> R + Send + 'static,
    R: Future<Output = Figures> + 'static,
{
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let begun = Instant::now();
        let all = futures::future::join_all(each.into_iter().map(|one| caller(one, begun + time)));
        let mut sum = Figures::new();
        runtime.block_on(all).iter().for_each(|figures| sum.add(figures));
        sum.took = begun.elapsed();
        sum
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}
