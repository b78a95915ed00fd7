//! Notifications, and the history of a member's coupons.

use consumers::coupon_history;
use consumers::notification::{Notification, NotificationKind};
use contracts::{CouponId, OwnedCouponId};
use db::types::{Id, Time};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::texts;

/// A notification in the app.
#[derive(Serialize, ToSchema)]
#[schema(as = Notification)]
pub(crate) struct NotificationView {
    /// Counts the member's notifications, from 1; the `id` of the stream's event.
    pub number: i64,
    #[schema(value_type = texts::NotificationKind)]
    pub kind: NotificationKind,
    pub text: String,
    /// Id of the causing event.
    #[schema(value_type = uuid::Uuid)]
    pub event_id: Id,
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    pub read: bool,
}

impl From<Notification> for NotificationView {
    fn from(notification: Notification) -> Self {
        let Notification { number, kind, text, event_id, at, read } = notification;
        Self { number, kind, text, event_id, at, read }
    }
}

/// Number up to which a member has read.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadMark {
    /// The highest read number.
    #[garde(range(min = 0))]
    #[schema(minimum = 0)]
    pub up_to: i64,
}

/// Number of notifications marked as read.
#[derive(Serialize, ToSchema)]
pub(crate) struct Marked {
    pub marked: u64,
}

/// Opens a notification stream without a header.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamTicket {
    /// Value for `?ticket=` of the stream.
    pub ticket: String,
    /// Lifetime of the ticket in seconds.
    #[schema(example = 60)]
    pub expires_in: u64,
}

/// An event in the history of a member's coupon.
#[derive(Serialize, ToSchema)]
#[schema(as = CouponHistoryEntry)]
pub(crate) struct HistoryEntry {
    #[schema(value_type = uuid::Uuid)]
    pub coupon_id: CouponId,
    #[schema(value_type = uuid::Uuid)]
    pub owned_coupon_id: OwnedCouponId,
    #[schema(value_type = texts::CouponChange)]
    pub what: coupon_history::What,
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
}

impl From<coupon_history::Entry> for HistoryEntry {
    fn from(entry: coupon_history::Entry) -> Self {
        let coupon_history::Entry { coupon_id, owned_coupon_id, what, at, .. } = entry;
        Self { coupon_id, owned_coupon_id, what, at }
    }
}
