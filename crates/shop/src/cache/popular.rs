//! The popular products, read at most once a second.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::web::Bytes;
use consumers::analytics::{self, POPULAR_WINDOW};
use db::types::Time;
use db::{Conn, Database};

use super::Recent;
use crate::dto::catalogue::{PopularProduct, PopularProducts};
use crate::http::problem::Problem;

/// Number of popular products.
const TOP: i64 = 5;

/// The answer for popular products, a second old at most.
pub struct Popular {
    db: Database,
    recent: Recent<(), Bytes>,
}

impl Popular {
    /// Wraps the figures of `db`.
    pub fn new(db: Database) -> Self {
        Self { db, recent: Recent::new(Duration::from_secs(1), 1) }
    }

    /// Returns the answer as JSON.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn json(&self) -> Result<Bytes, Problem> {
        let read = async {
            let popular = self.db.read(read).await?;
            Ok(serde_json::to_vec(&popular).map_err(Problem::internal)?.into())
        };
        self.recent.get_or_read((), read).await
    }
}

fn read(conn: &mut Conn) -> db::Result<PopularProducts> {
    let now = Time::now();
    let (mut items, mut skip, mut batch) = (Vec::new(), 0, TOP);
    loop {
        let sold = analytics::popular(conn, now, skip, batch)?;
        let is_last = (sold.len() as i64) < batch;
        items.extend(on_offer(conn, sold)?);
        if items.len() >= TOP as usize || is_last {
            items.truncate(TOP as usize);
            return Ok(PopularProducts { items, since: now - POPULAR_WINDOW });
        }
        // few are passed over as a rule, and thousands in few steps
        (skip, batch) = (skip + batch, batch * 2);
    }
}

/// Returns the products of `sold` that can be bought.
fn on_offer(conn: &mut Conn, sold: Vec<analytics::Popular>) -> db::Result<Vec<PopularProduct>> {
    let ids: Vec<_> = sold.iter().map(|popular| popular.product_id).collect();
    let there = stock::by_ids(conn, &ids)?.into_iter().filter(|product| product.on_sale && product.available > 0);
    let mut products: HashMap<_, _> = there.map(|product| (product.id, product)).collect();
    let with_product = |popular: analytics::Popular| {
        let product = products.remove(&popular.product_id)?;
        let (product_id, sold) = (popular.product_id, popular.sold);
        Some(PopularProduct { product_id, name: product.name, price: product.price, sold })
    };
    Ok(sold.into_iter().filter_map(with_product).collect())
}
