//! The routes: parse, do, answer.

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod dead_letters;
pub(crate) mod events;
pub(crate) mod ledger;
mod lines;
pub(crate) mod receipts;
pub(crate) mod topics;
