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

/// How many there are.
const TOP: i64 = 5;

/// The answer for popular products, a second old at most.
pub struct Popular {
    db: Database,
    recent: Recent<(), Bytes>,
}

impl Popular {
    /// Over the figures of `db`.
    pub fn new(db: Database) -> Self {
        Self { db, recent: Recent::new(Duration::from_secs(1), 1) }
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// The database's.
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
    let sold = analytics::popular(conn, now, TOP)?;
    let ids: Vec<_> = sold.iter().map(|popular| popular.product_id).collect();
    let mut products: HashMap<_, _> = stock::by_ids(conn, &ids)?.into_iter().map(|p| (p.id, p)).collect();
    let with_product = |popular: analytics::Popular| {
        let product = products.remove(&popular.product_id)?;
        let (product_id, sold) = (popular.product_id, popular.sold);
        Some(PopularProduct { product_id, name: product.name, price: product.price, sold })
    };
    Ok(PopularProducts { items: sold.into_iter().filter_map(with_product).collect(), since: now - POPULAR_WINDOW })
}
