//! The promises of the contracts: stable payloads, and exact money.

#[path = "contracts/money.rs"]
mod money;
#[path = "contracts/payloads.rs"]
mod payloads;
