//! Products by id, as JSON for answers.

use std::time::Duration;

use actix_web::web::Bytes;
use contracts::ProductId;
use db::{Database, Tx};

use super::Recent;
use crate::dto::catalogue::ProductView;
use crate::http::problem::Problem;

/// Maximum age of an answer. Changes through this API are visible at once; changes by background work (expired
/// orders) are visible after this time.
const LIFETIME: Duration = Duration::from_millis(100);

/// Answers for single products.
///
/// If one process owns the database, each answer is cached for a moment. The unit that changes the product removes
/// the entry between COMMIT and answer: so a client reads its own writes. If several processes share the database,
/// nothing is cached, because another process's change would be invisible.
pub struct Products {
    db: Database,
    recent: Option<std::sync::Arc<Recent<ProductId, Bytes>>>,
}

impl Products {
    /// Wraps the products of `db`.
    pub fn new(db: Database) -> Self {
        let recent = (!db.is_shared()).then(|| Recent::new(LIFETIME, 20_000).into());
        Self { db, recent }
    }

    /// Returns the product as JSON.
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

    /// Returns the handle for a unit that changes products; the entries are removed after the commit.
    pub fn changes(&self) -> ProductChanges {
        ProductChanges(self.recent.clone())
    }
}

/// Tells the cache about changes by a unit of work.
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
