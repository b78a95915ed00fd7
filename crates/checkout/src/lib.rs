//! Use cases across domains, each one unit of work: place, pay, cancel and expire an order.
//!
//! Rows are locked in the order: order, coupon, stock, wallet, and products by id, so that units never deadlock.
//! Placing alone takes stock before the coupon, because the discount depends on prices, and the prices come with the
//! stock. This exception makes no circle: the coupon's conditional UPDATE waits only for another placing, and a
//! placing takes no lock after the coupon. A reserved coupon does not fulfil the condition: the UPDATE refuses the
//! coupon without waiting.

mod audit;
mod error;
mod service;

pub use audit::{Discrepancy, audit};
pub use error::CheckoutError;
pub use order::{Item, UnpaidLimit};
pub use service::{Terms, cancel, expire, pay, place_order};
