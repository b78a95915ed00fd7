//! Orders: what was bought, for how much, and what became of it.
//!
//! An order is placed with its stock reserved, and then ends in one of these ways; each step is a conditional UPDATE,
//! so that of several at once one wins.
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
