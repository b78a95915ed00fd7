//! The routes: parse, do, answer.

pub mod events;
pub mod ledger;
pub mod receipts;
