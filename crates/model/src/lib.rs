//! Executable model of the event protocol (docs/protocol.md).
//!
//! A [`Scenario`] has units, servers, processes with relays, members of a group, and a budget of faults. The checker
//! explores every order of their steps. With all rules on, no property breaks. With any one [`Rule`] off, a property
//! breaks, or a state that has to be reachable is not.
//!
//! A server is its write-ahead log: a list of committed units. A crash drops the units behind the last flush, and a
//! failover keeps any prefix of the flushed units. The tables follow from the list.

mod check;
mod database;
mod properties;
mod protocol;
mod rule;
mod scenario;
mod state;
mod steps;

pub use check::{Report, check};
pub use protocol::Action;
pub use rule::Rule;
pub use scenario::{Handler, LARGE, SMALL, Scenario};
pub use state::{Bus, Faults, State};
