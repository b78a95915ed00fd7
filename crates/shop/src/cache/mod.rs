//! What is kept in memory for a moment, so that hot reads need no database.

mod coupons;
mod popular;
mod products;
mod recent;

pub use coupons::{CouponState, Coupons};
pub use popular::Popular;
pub use products::Products;
pub use recent::Recent;
