//! A service that reports errors to the event proxy: by the attribute, by the `tracing` layer, and by direct calls.
//!
//! ```text
//! cargo run -p event-proxy-client --example report                          (EVENT_PROXY_URL, or http://127.0.0.1:8090)
//! cargo run -p event-proxy-client --example report http://127.0.0.1:8091
//! ```

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use event_proxy_client::{Event, EventProxy, Level, ProxyLayer, install, report_errors};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::prelude::*;

#[report_errors(service = "order", type = "payment-failed", key = order, fields(amount = amount))]
async fn pay(order: &str, amount: u64) -> Result<(), String> {
    if amount > 1000 {
        return Err(format!("{amount} is more than the wallet holds"));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let url = env::args().nth(1).or_else(|| env::var("EVENT_PROXY_URL").ok());
    let url = url.unwrap_or_else(|| "http://127.0.0.1:8090".to_owned());
    let proxy = match EventProxy::builder().url(url).service("order").build() {
        Ok(proxy) => proxy,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    install(proxy.clone()).expect("nobody installed another before");
    let shipped = ProxyLayer::builder(proxy.clone()).build().expect("the client has a service");
    let printed = tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(shipped).with(printed).init();

    for (order, amount) in [("order-16", 500), ("order-17", 1200)] {
        let result = pay(order, amount).await;
        println!("{order}: {result:?}");
    }
    let span = tracing::info_span!("delivery", order = "order-16");
    span.in_scope(|| tracing::error!(event_type = "delivery-failed", carrier = "post", "nobody was at home"));
    let placed = Event::new("placed").key("order-18").level(Level::Info).data(serde_json::json!({ "amount": 300 }));
    if let Err(error) = proxy.send(placed) {
        eprintln!("not sent: {error}");
    }

    let flushed = proxy.flush(Duration::from_secs(5)).await;
    println!("{:?}", proxy.stats());
    match flushed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
