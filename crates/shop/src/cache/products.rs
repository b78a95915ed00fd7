//! Products by id, as the JSON that is sent.

use std::time::Duration;

use actix_web::web::Bytes;
use contracts::ProductId;
use db::{Database, Tx};

use super::Recent;
use crate::dto::catalogue::ProductView;
use crate::http::problem::Problem;

/// How old an answer may be. Changes made through this API are seen at once; what the background does (orders that
/// expire) may be seen this much later.
const LIFETIME: Duration = Duration::from_millis(100);

/// Answers for single products.
///
/// Where one process owns the database, each is remembered for a moment, and forgotten by the unit that changes the
/// product, between its COMMIT and its answer: so whoever was answered reads what it wrote. Where several processes
/// share the database nothing is remembered, for another's change would not be seen.
pub struct Products {
    db: Database,
    recent: Option<std::sync::Arc<Recent<ProductId, Bytes>>>,
}

impl Products {
    /// Over the products of `db`.
    pub fn new(db: Database) -> Self {
        let recent = (!db.is_shared()).then(|| Recent::new(LIFETIME, 20_000).into());
        Self { db, recent }
    }

    /// The product as JSON.
    ///
    /// # Errors
    /// `not-found`, and the database's.
    pub async fn json(&self, id: ProductId) -> Result<Bytes, Problem> {
        match &self.recent {
            Some(recent) => recent.get_or_read(id, self.read(id)).await,
            None => self.read(id).await,
        }
    }

    async fn read(&self, id: ProductId) -> Result<Bytes, Problem> {
        let product = self.db.read(move |conn| stock::get(conn, id)).await?;
        let product = product.ok_or_else(|| Problem::not_found("product"))?;
        let json = serde_json::to_vec(&ProductView::from(product)).map_err(Problem::internal)?;
        Ok(json.into())
    }

    /// What to call in a unit that changes products; they are forgotten once it is committed.
    pub fn changes(&self) -> ProductChanges {
        ProductChanges(self.recent.clone())
    }
}

/// Tells the cache what a unit of work changes.
#[derive(Clone)]
pub struct ProductChanges(Option<std::sync::Arc<Recent<ProductId, Bytes>>>);

impl ProductChanges {
    /// `tx` changes these products.
    pub fn by(&self, tx: &mut Tx<'_>, products: impl IntoIterator<Item = ProductId>) {
        let Some(recent) = self.0.clone() else { return };
        let products: Vec<ProductId> = products.into_iter().collect();
        tx.after_commit(move || products.into_iter().for_each(|product| recent.forget(product)));
    }
}
