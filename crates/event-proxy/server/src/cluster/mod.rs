//! Several proxies together: the shared control database, and what one proxy asks another.

pub mod audit;
pub mod control;
pub(crate) mod peers;
pub(crate) mod schema;
