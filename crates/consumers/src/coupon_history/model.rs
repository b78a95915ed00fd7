//! An entry of a member's coupon history.

use contracts::events::{CouponIssued, CouponReturned, CouponUsed};
use contracts::{CouponId, MemberId, OwnedCouponId};
use db::types::{Id, Time};
use messaging::{Event, HandlerError};

use super::schema::coupon_history;

db::text_enum!(
    /// Kind of an entry.
    What {
        /// The member got the coupon.
        Issued => "issued",
        /// An order took the coupon.
        Used => "used",
        /// The order ended without a sale, and gave the coupon back.
        Returned => "returned",
    }
);

/// An event in the history of a member's coupon.
#[derive(Debug, Clone, PartialEq, Eq, diesel::Queryable, diesel::Insertable)]
#[diesel(table_name = coupon_history, treat_none_as_default_value = false)]
pub struct Entry {
    pub member_id: MemberId,
    /// Id of the event.
    pub id: Id,
    pub owned_coupon_id: OwnedCouponId,
    pub coupon_id: CouponId,
    pub what: What,
    pub at: Time,
}

impl Entry {
    /// # Errors
    /// [`HandlerError::Failed`] for any other event.
    pub(super) fn of(event: &Event) -> Result<Self, HandlerError> {
        let id = event.id;
        Ok(if event.is::<CouponUsed>() {
            let CouponUsed { member_id, owned_coupon_id, coupon_id, used_at, .. } = event.decode()?;
            Self { member_id, id, owned_coupon_id, coupon_id, what: What::Used, at: used_at }
        } else if event.is::<CouponReturned>() {
            let CouponReturned { member_id, owned_coupon_id, coupon_id, returned_at, .. } = event.decode()?;
            Self { member_id, id, owned_coupon_id, coupon_id, what: What::Returned, at: returned_at }
        } else {
            let CouponIssued { member_id, owned_coupon_id, coupon_id, issued_at, .. } = event.decode()?;
            Self { member_id, id, owned_coupon_id, coupon_id, what: What::Issued, at: issued_at }
        })
    }
}
