//! Purchases on PostgreSQL, against pgbench with the same statements.

use std::sync::Arc;
use std::time::Duration;

use db::diesel::{RunQueryDsl, sql_query};
use db::on_each;

use crate::observe::{Observer, program};
use crate::report::{rate, ratio};
use crate::stand::Stand;
use crate::{CONNECTIONS, PRODUCTS, load};

/// Connections of the shop's pool, and of pgbench.
const POOL: usize = 10;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/purchase.sql");

/// Bursts of purchases over HTTP, and the statements of the same number of connections without a shop.
pub(crate) async fn purchases(there: &[(&str, &str)], database_url: &str, time: Duration, observer: &Arc<Observer>) {
    let pool = POOL.to_string();
    let settings: Vec<_> = there.iter().copied().chain([("SHOP__DATABASE__POOL_SIZE", pool.as_str())]).collect();
    let stand = Stand::open_with(&settings, []).await;
    let (products, buyers) = (stand.products(PRODUCTS).await, stand.buyers(CONNECTIONS).await);
    let burst = load::purchases(&stand.address, buyers, &products, time, None);
    let burst = observer.row("PostgreSQL, purchases: burst", "purchase", burst).await;
    seed(&stand.shop.db).await;
    stand.close().await;
    let limit = pgbench(database_url, time);
    rate("PostgreSQL, purchases: pgbench", limit);
    ratio("PostgreSQL, purchases: burst to pgbench", burst.per_second() / limit, 0.8);
}

/// Inserts products and wallets under the ids of the script.
async fn seed(db: &db::Database) {
    let products = format!(
        "INSERT INTO product (id, name, search_name, price, available, low_stock_threshold, on_sale, version, created_at) \
         SELECT lpad(to_hex(n), 32, '0')::uuid, 'Product', 'product', 10000, 100000000, 0, true, 1, now() \
         FROM generate_series(1, {PRODUCTS}) n"
    );
    let wallets = format!(
        "INSERT INTO wallet (member_id, balance) SELECT lpad(to_hex(n), 32, '0')::uuid, 1000000000000 \
         FROM generate_series(1, {POOL}) n"
    );
    let seeded = db.write(move |tx| -> db::Result<()> {
        for statement in [&products, &wallets] {
            on_each!(&mut **tx, |conn| sql_query(statement).execute(conn))?;
        }
        Ok(())
    });
    seeded.await.expect("products and wallets");
}

/// Purchases a second.
fn pgbench(database_url: &str, time: Duration) -> f64 {
    let (clients, seconds, products) = (POOL.to_string(), time.as_secs().to_string(), format!("products={PRODUCTS}"));
    let said = program(
        "pgbench",
        &[
            &["--no-vacuum", "--protocol=prepared", "--jobs=2", "--file", SCRIPT, "--define", "n=0"][..],
            &["--client", &clients, "--time", &seconds, "--define", &products, database_url],
        ]
        .concat(),
    );
    let found = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    found.unwrap_or_else(|| panic!("pgbench: {said}"))
}
