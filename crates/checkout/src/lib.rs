//! Use cases that cross domains, each one unit of work: place an order, pay it, cancel it, let it expire.
//!
//! Rows are locked in the order: order, coupon, stock, wallet, and products by id, so that two units never wait for
//! each other in a circle. Placing alone takes stock before the coupon, because the discount depends on the prices
//! that come with the stock. It makes no circle: the coupon's conditional UPDATE waits only for another placing,
//! which holds its stock already and takes no lock after the coupon; a coupon that an order has reserved does not
//! fulfil the condition, and is refused without waiting for whoever gives it back.

mod audit;
mod error;
mod service;

pub use audit::{Discrepancy, audit};
pub use error::CheckoutError;
pub use order::{Item, UnpaidLimit};
pub use service::{Terms, cancel, expire, pay, place_order};
