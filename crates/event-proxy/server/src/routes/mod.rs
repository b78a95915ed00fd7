//! The routes: parse, do, answer.

pub mod audit;
pub mod events;
pub mod ledger;
pub mod receipts;
