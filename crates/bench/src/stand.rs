//! A shop to measure: the real server on an embedded database in a temporary folder, with members and products.

use std::ffi::OsString;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use contracts::{Money, ProductId};
use runtime::settings::Settings;
use runtime::{Hosted, Role, Shop};
use shop::http::server::Server;
use stock::NewProduct;
use tempfile::TempDir;

use crate::client::Client;

const PASSWORD: &str = "correct-horse-battery";

/// An open shop.
pub(crate) struct Stand {
    pub shop: Shop,
    pub address: String,
    server: Server,
    hosted: Vec<Hosted>,
    _folder: TempDir,
}

/// A signed-in member with enough money.
#[derive(Clone)]
pub(crate) struct Buyer {
    pub token: String,
}

impl Stand {
    /// Opens a shop on the embedded database, with its consumers or without.
    pub(crate) async fn open(consumers: bool) -> Self {
        Self::open_with(&[], consumers.then_some(Role::Shop)).await
    }

    /// Opens a shop with these settings and hosts the programs of these roles.
    pub(crate) async fn open_with(more: &[(&str, &str)], roles: impl IntoIterator<Item = Role>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = settings(&folder, more);
        let shop = Shop::open(settings).await.unwrap_or_else(|error| panic!("the shop opens: {error}"));
        let mut hosted = Vec::new();
        for role in roles {
            hosted.push(shop.host_as(role).await.expect("the consumers start"));
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let secret = shop.token_secret().expect("a secret");
        let server = Server::start(&shop, &secret, listener).expect("the server starts");
        Self { address: server.address().to_string(), shop, server, hosted, _folder: folder }
    }

    pub(crate) async fn close(self) {
        self.server.stop().await.expect("the server stops");
        for hosted in self.hosted {
            hosted.stop(Duration::from_secs(30)).await;
        }
        self.shop.close().await;
    }

    pub(crate) async fn products(&self, count: usize) -> Vec<ProductId> {
        let unit = move |tx: &mut db::Tx<'_>| stock::create_many(tx, &new_products(count));
        let made = self.shop.db.write(unit).await.expect("the products");
        made.into_iter().map(|product| product.id).collect()
    }

    pub(crate) async fn buyers(&self, count: usize) -> Vec<Buyer> {
        let mut client = Client::connect(&self.address).await.expect("a connection");
        let mut buyers = Vec::with_capacity(count);
        let here = uuid::Uuid::new_v4().simple(); // the database may know those of another stand
        for n in 0..count {
            let credentials = format!(r#""email":"buyer{n}-{here}@example.com","password":"{PASSWORD}""#);
            let body = format!(r#"{{{credentials},"name":"Buyer"}}"#);
            let member = client.call("POST", "/api/v1/members", "", &body).await.expect("an answer");
            assert_eq!(member.status, 201, "{}", String::from_utf8_lossy(&member.body));
            let body = format!("{{{credentials}}}");
            let session = client.call("POST", "/api/v1/sessions", "", &body).await.expect("an answer");
            let token = session.text("access_token").expect("a token").to_owned();
            let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: charge\r\n");
            let charge = r#"{"amount":"1000000000"}"#;
            let charged = client.call("POST", "/api/v1/wallet/charges", &headers, charge).await.expect("an answer");
            assert_eq!(charged.status, 201, "{}", String::from_utf8_lossy(&charged.body));
            buyers.push(Buyer { token });
        }
        buyers
    }

    /// Returns the lag in events, summed over all groups.
    pub(crate) async fn lag(&self) -> i64 {
        let rows = self.shop.lags().await.expect("the lag");
        rows.iter().map(|row| row.lag).sum()
    }

    /// Returns the lag of `group` in events.
    pub(crate) async fn lag_of(&self, group: &str) -> i64 {
        let rows = self.shop.lags().await.expect("the lag");
        rows.iter().filter(|row| row.group == group).map(|row| row.lag).sum()
    }

    /// Waits until no group has a lag, and returns the time taken; `None` after `patience`.
    pub(crate) async fn catch_up(&self, patience: Duration) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.lag().await == 0 {
                return Some(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

/// Returns products of one price with enough stock.
pub(crate) fn new_products(count: usize) -> Vec<NewProduct> {
    let product = |n| NewProduct::new(&format!("Product {n}"), Money::from_minor(10_000), 100_000_000, 0);
    (0..count).map(|n| product(n).expect("a product within the limits")).collect()
}

fn settings(folder: &TempDir, more: &[(&str, &str)]) -> Settings {
    let of = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let dir = folder.path().to_str().expect("a path in UTF-8");
    let ours = [of("SHOP__DATA_DIR", dir), of("SHOP__RATE_LIMIT__ENABLED", "false")];
    let variables = ours.into_iter().chain(more.iter().map(|(name, value)| of(name, value)));
    Settings::from(None, variables).unwrap_or_else(|error| panic!("{error}"))
}
