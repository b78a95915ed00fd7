//! The rules of coupons, on every database.

#[path = "coupon/discount.rs"]
mod discount;
#[path = "coupon/given.rs"]
mod given;
#[path = "coupon/issuing.rs"]
mod issuing;
#[path = "coupon/owned.rs"]
mod owned;
