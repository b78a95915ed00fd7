//! The routes: parse, do, answer.

pub mod events;
pub mod receipts;
