//! The routes: parse, do, answer.

pub mod api_keys;
pub mod audit;
pub mod dead_letters;
pub mod events;
pub mod ledger;
mod lines;
pub mod receipts;
pub mod topics;
