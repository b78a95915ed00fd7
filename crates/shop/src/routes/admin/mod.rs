//! `/admin`: for administrators.

pub mod dead_letters;
pub mod events;
pub mod figures;
pub mod fulfilment;
pub mod lists;
