//! The promises of the contracts: payloads that don't change under their readers, and money that is exact.

#[path = "contracts/money.rs"]
mod money;
#[path = "contracts/payloads.rs"]
mod payloads;
