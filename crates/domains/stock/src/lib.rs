//! The catalogue, and how much of each product there is to sell.
//!
//! The units received (initial stock and adjustments) always equal the available units, plus the units reserved by
//! pending orders, plus the units bought by paid orders.

mod error;
mod model;
mod schema;
mod service;
mod store;

pub use error::StockError;
pub use model::{Cursor, MAX_PRICE, MAX_UNITS, NAME, NewProduct, Product, ProductChange, ProductQuery, REASON, Sort};
pub use service::{adjust, change, create, create_many, reserve, restore};
pub use store::{StockBalance, balances, by_ids, get, page, renew_search_names, taken_names};
