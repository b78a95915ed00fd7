//! Products and stock.

use contracts::{Money, ProductId};
use db::types::Time;
use garde::Validate;
use serde::{Deserialize, Serialize};
use stock::Product;
use utoipa::ToSchema;

use super::line;
use crate::http::problem::Problem;

/// A new product.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductEntry {
    #[garde(custom(line(&stock::NAME)))]
    #[schema(min_length = 1, max_length = 200, example = "Mug")]
    pub name: String,
    /// Price of one unit.
    #[garde(custom(not_negative))]
    #[schema(value_type = String, example = "19900")]
    pub price: Money,
    /// Units to begin with.
    #[garde(range(min = 0, max = stock::MAX_UNITS))]
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 100)]
    pub stock: i64,
    /// Stock below which more units are ordered; 0 means never.
    #[serde(default)]
    #[garde(range(min = 0, max = stock::MAX_UNITS))]
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 10)]
    pub low_stock_threshold: i64,
}

impl ProductEntry {
    /// # Errors
    /// Names the field with an invalid value.
    pub(crate) fn into_new(self) -> Result<stock::NewProduct, Problem> {
        Ok(stock::NewProduct::new(&self.name, self.price, self.stock, self.low_stock_threshold)?)
    }
}

/// Changes of a product; absent fields keep their values.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductPatch {
    #[garde(inner(custom(line(&stock::NAME))))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    #[garde(inner(custom(not_negative)))]
    #[schema(value_type = Option<String>, example = "21900")]
    pub price: Option<Money>,
    #[garde(range(min = 0, max = stock::MAX_UNITS))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub low_stock_threshold: Option<i64>,
    #[garde(skip)]
    pub on_sale: Option<bool>,
}

impl ProductPatch {
    /// # Errors
    /// Names the field with an invalid value.
    pub(crate) fn into_change(self) -> Result<stock::ProductChange, Problem> {
        Ok(stock::ProductChange::new(self.name.as_deref(), self.price, self.low_stock_threshold, self.on_sale)?)
    }
}

fn not_negative(price: &Money, _: &()) -> garde::Result {
    if *price < Money::ZERO { Err(garde::Error::new("must not be negative")) } else { Ok(()) }
}

/// Units brought in or written off.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StockAdjustment {
    /// Units to add or to remove; not 0.
    #[garde(range(min = -stock::MAX_UNITS, max = stock::MAX_UNITS))]
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = -3)]
    pub delta: i64,
    #[garde(custom(line(&stock::REASON)))]
    #[schema(min_length = 1, max_length = 200, example = "damaged")]
    pub reason: String,
}

/// Stock after an adjustment.
#[derive(Serialize, ToSchema)]
pub(crate) struct StockLevel {
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    pub available: i64,
}

/// A product of the catalogue.
#[derive(Serialize, ToSchema)]
#[schema(as = Product)]
pub(crate) struct ProductView {
    #[schema(value_type = uuid::Uuid)]
    pub id: ProductId,
    pub name: String,
    /// Price of one unit.
    #[schema(value_type = String, example = "19900")]
    pub price: Money,
    /// Units for sale.
    pub available: i64,
    pub low_stock_threshold: i64,
    pub on_sale: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        let Product { id, name, price, available, low_stock_threshold, on_sale, version: _, created_at } = product;
        Self { id, name, price, available, low_stock_threshold, on_sale, created_at }
    }
}

/// The products sold most lately.
#[derive(Serialize, ToSchema)]
pub(crate) struct PopularProducts {
    /// The most sold first.
    pub items: Vec<PopularProduct>,
    /// Sales count from here on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Time,
}

/// A product and the number of units sold.
#[derive(Serialize, ToSchema)]
pub(crate) struct PopularProduct {
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    pub name: String,
    #[schema(value_type = String, example = "19900")]
    pub price: Money,
    /// Units.
    pub sold: i64,
}
