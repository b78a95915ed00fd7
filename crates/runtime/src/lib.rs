//! Composition: reads the settings, opens the database, chooses the bus of each topic, and hosts background work or
//! the work of a worker.
//!
//! [`settings::Settings::load`], then [`Shop::open`], then [`Shop::host`]; [`Hosted::stop`] and [`Shop::close`] at
//! the end. An opened shop without hosting changes nothing by itself: enough for a command line.

mod background;
mod buses;
mod error;
mod fixed;
pub mod health;
mod host;
mod observed;
pub mod programs;
mod record;
pub mod settings;
mod shop;

pub use background::{Expired, expire_due};
pub use buses::Buses;
pub use error::{OpenError, when_there};
pub use host::{Hosted, Role};
pub use observed::Observed;
pub use record::recorded_buses;
pub use shop::{Purge, Shop};
