//! Coupons: campaigns, the first-come draw, and coupons in members' hands.
//!
//! A request for a coupon is an event, keyed by the coupon; [`issue`] decides requests in the order of the log. Who
//! wins depends on positions alone, and whether the coupon was open on the time of the request.

mod error;
mod model;
mod schema;
mod service;
mod store;

pub use error::CouponError;
pub use model::{
    Availability, Coupon, Discount, IssueRequest, IssueStatus, NAME, NewCoupon, OwnedCoupon, OwnedStatus,
    Reconciliation, RejectReason,
};
pub use service::issuing::{issue, owned_by, reconciliation, request, requests};
pub use service::{availability, close_at, create, get, give_back, owned_page, page, redeem, reserve};
