//! The routes, one file for each resource: parse, one unit of work, answer. No rules here.

pub(crate) mod admin;
pub(crate) mod coupons;
pub(crate) mod issue_requests;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod notifications;
pub(crate) mod orders;
mod payments;
pub(crate) mod products;
pub(crate) mod sessions;
pub(crate) mod wallet;

use crate::http::app::PREFIX;

/// Returns the address of a resource under the prefix.
fn at(path: impl std::fmt::Display) -> String {
    format!("{PREFIX}/{path}")
}
