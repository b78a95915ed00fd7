//! REST as all our servers have it: problem documents, JSON bodies and query parameters that name what is wrong with
//! them, pages, and what happens around every request.

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
