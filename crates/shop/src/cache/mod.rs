//! Short-lived caches for hot reads without the database.

mod coupons;
mod popular;
mod products;
mod recent;

pub(crate) use coupons::{CouponState, Coupons};
pub(crate) use popular::Popular;
pub(crate) use products::Products;
pub(crate) use recent::Recent;
