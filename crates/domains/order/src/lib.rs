//! Orders: lines, price and state.
//!
//! An order is placed with reserved stock, and then ends in one of the following ways. Each step is a conditional
//! UPDATE: of several concurrent steps exactly one succeeds.
//!
//! ```text
//! pending -> paid -> refunded (while not shipped)
//!         -> cancelled
//!         -> expired
//! ```

mod error;
mod model;
mod schema;
mod service;
mod store;

pub use error::OrderError;
pub use model::{
    Basket, Item, MAX_LINES, MAX_QUANTITY, MAX_TOTAL, NewOrder, Order, OrderStatus, Transition, UnpaidLimit,
};
pub use service::{cancel, due, expire, mark_paid, mark_shipped, place, within_unpaid_limit};
pub use store::{Held, get, held, page};
