//! What is kept in memory for a moment, so that hot reads need no database.

mod coupons;
mod popular;
mod products;
mod recent;

pub(crate) use coupons::{CouponState, Coupons};
pub(crate) use popular::Popular;
pub(crate) use products::Products;
pub(crate) use recent::Recent;
