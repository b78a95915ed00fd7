//! Common REST layer of the servers: problem documents, JSON bodies and query parameters with precise errors, pages,
//! and middleware.

pub mod answer;
pub mod body;
pub mod client;
pub mod connection;
pub mod depth;
pub mod directory;
pub mod docs;
pub mod fair;
pub mod health;
pub mod input;
pub mod kinds;
pub mod observe;
pub mod page;
pub mod problem;
pub mod reply;
pub mod server;
mod shares;
mod singles;
pub mod sparse;
pub mod threads;
pub mod throttle;
pub mod turns;

pub use problem::Problem;
