//! The routes, one file a resource: parse, one unit of work, answer. No rules here.

pub mod admin;
pub mod coupons;
pub mod issue_requests;
pub mod me;
pub mod members;
pub mod notifications;
pub mod orders;
mod payments;
pub mod products;
pub mod sessions;
pub mod wallet;

use crate::http::app::PREFIX;

/// The address of something under the prefix.
fn at(path: impl std::fmt::Display) -> String {
    format!("{PREFIX}/{path}")
}
