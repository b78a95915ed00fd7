//! Limits used as references: the same SQL without HTTP, HTTP without a shop, and librdkafka alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use checkout::{Item, Terms};
use contracts::{MemberId, Money, topics};
use db::{Database, Options};
use messaging::{Log, TopicSpec};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::report::Figures;
use crate::stand::new_products;

/// Partitions of each topic: the shop's default.
const PARTITIONS: i32 = 4;
const EXPIRES_AFTER: Duration = Duration::from_secs(900);

/// Measures purchases (order and pay, a unit each) as fast as the database takes them from `at_once` tasks.
///
/// # Panics
/// If the database does not open or refuses a purchase.
pub(crate) async fn purchases_without_http(products: usize, at_once: usize, time: Duration) -> Figures {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = Log::new();
    let options = Options::new(format!("sqlite:{}", folder.path().join("limit.db").display()));
    let db = Database::open(options, &contracts::MIGRATIONS, log.recorder()).await.expect("the database opens");
    let specs: Vec<_> =
        topics::ALL.iter().map(|name| TopicSpec { name: (*name).into(), partitions: PARTITIONS }).collect();
    log.open(&db, &specs).await.expect("the log opens");
    let stock = db.write(move |tx| stock::create_many(tx, &new_products(products))).await.expect("the products");
    let members: Vec<MemberId> = (0..at_once).map(|_| MemberId::new()).collect();
    for member in members.clone() {
        db.write(move |tx| payment::charge(tx, member, Money::from_minor(1_000_000_000))).await.expect("a charge");
    }
    let stock = Arc::new(stock.iter().map(|product| product.id).collect::<Vec<_>>());
    let started = Instant::now();
    let until = started + time;
    let next = Arc::new(AtomicUsize::new(0));
    let buyers = members.into_iter().map(|member| {
        let (db, stock, next) = (db.clone(), stock.clone(), next.clone());
        tokio::spawn(async move {
            let mut figures = Figures::new();
            while Instant::now() < until {
                let begun = Instant::now();
                let product = stock[next.fetch_add(1, Ordering::Relaxed) % stock.len()];
                let items = [Item { product_id: product, quantity: 1 }];
                let order = db
                    .write(move |tx| checkout::place_order(tx, member, &items, None, Terms::new(EXPIRES_AFTER)))
                    .await;
                let id = order.expect("an order").id;
                db.write(move |tx| checkout::pay(tx, member, id)).await.expect("a payment");
                figures.record(begun.elapsed());
            }
            figures
        })
    });
    let mut all = Figures::new();
    for buyer in buyers.collect::<Vec<_>>() {
        all.add(&buyer.await.expect("no panic"));
    }
    all.took = started.elapsed();
    db.close().await;
    all
}

/// Serves handlers that do nothing, with as many workers as the shop. Returns the address.
///
/// # Panics
/// If there is no free port.
pub(crate) fn serve_bare() -> String {
    let server = HttpServer::new(|| {
        App::new()
            .route("/", web::get().to(|| async { HttpResponse::Ok().content_type("application/json").body(BODY) }))
            .route(
                "/",
                web::post()
                    .to(|_: web::Bytes| async { HttpResponse::Accepted().content_type("application/json").body(BODY) }),
            )
    });
    let server = server.bind("127.0.0.1:0").expect("a free port");
    let address = server.addrs()[0].to_string();
    tokio::spawn(server.disable_signals().run());
    address
}

/// Measures records a second, sent as fast as librdkafka takes them, with the headers of events.
///
/// # Panics
/// If not all are sent.
pub(crate) async fn produced(servers: &str, topic: &str, partitions: i32, payload: String, count: usize) -> f64 {
    let (servers, topic) = (servers.to_owned(), topic.to_owned());
    let send = move || {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .create()
            .expect("a producer");
        let headers = (0..9).fold(OwnedHeaders::new(), |headers, _| {
            headers.insert(Header { key: "ce_something", value: Some("a value of some length") })
        });
        let begun = Instant::now();
        for n in 0..count {
            let key = n.to_string();
            let partition = n as i32 % partitions;
            let mut record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&payload);
            record = record.headers(headers.clone());
            while let Err((_, refused)) = producer.send(record) {
                record = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        producer.flush(Duration::from_secs(60)).expect("all is sent");
        count as f64 / begun.elapsed().as_secs_f64()
    };
    tokio::task::spawn_blocking(send).await.expect("no panic")
}

/// Body of a product's size in JSON.
const BODY: &str = r#"{"id":"01939d8e-1f6b-7cc1-b1f5-0f3c8d1f6b7c","name":"Product 1","price":"10000","available":1000000,"low_stock_threshold":0,"on_sale":true,"created_at":"2026-01-01T00:00:00.000000Z"}"#;
