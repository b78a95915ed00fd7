//! A delivery, and the steps made of an order's events.

use contracts::events::{
    DeliveryChanged, DeliveryStatus, OrderCancelled, OrderCreated, PaymentCompleted, PaymentRefunded,
};
use contracts::{DeliveryId, MemberId, OrderId};
use db::types::Time;
use diesel::Queryable;
use messaging::{Event, HandlerError};

/// The delivery of an order; each order has one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Delivery {
    pub id: DeliveryId,
    pub order_id: OrderId,
    pub member_id: MemberId,
    pub status: DeliveryStatus,
    /// Version, raised by one with each change.
    pub version: i64,
    /// Time of the order's event or of the shipping that led to `status`.
    pub changed_at: Time,
    /// Time of the payment, if the payment was seen before any cancellation.
    pub prepared_at: Option<Time>,
    pub shipped_at: Option<Time>,
    pub delivered_at: Option<Time>,
}

impl Delivery {
    pub(super) fn changed(&self) -> DeliveryChanged {
        DeliveryChanged {
            delivery_id: self.id,
            delivery_version: self.version,
            order_id: self.order_id,
            member_id: self.member_id,
            status: self.status,
            changed_at: self.changed_at,
        }
    }
}

/// Effect of an order's event on the delivery. The step of the highest order version holds, in any order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub order_id: OrderId,
    pub member_id: MemberId,
    pub order_version: i64,
    pub status: DeliveryStatus,
    pub at: Time,
}

impl Step {
    pub(super) fn of(event: &Event) -> Result<Self, HandlerError> {
        let (order_id, member_id, order_version, status, at) = if event.is::<OrderCreated>() {
            let e: OrderCreated = event.decode()?;
            (e.order_id, e.member_id, e.order_version, DeliveryStatus::Waiting, e.created_at)
        } else if event.is::<PaymentCompleted>() {
            let e: PaymentCompleted = event.decode()?;
            (e.order_id, e.member_id, e.order_version, DeliveryStatus::Preparing, e.paid_at)
        } else if event.is::<OrderCancelled>() {
            let e: OrderCancelled = event.decode()?;
            (e.order_id, e.member_id, e.order_version, DeliveryStatus::Cancelled, e.cancelled_at)
        } else {
            let e: PaymentRefunded = event.decode()?;
            (e.order_id, e.member_id, e.order_version, DeliveryStatus::Cancelled, e.refunded_at)
        };
        Ok(Self { order_id, member_id, order_version, status, at })
    }

    pub(super) fn prepared_at(&self) -> Option<Time> {
        (self.status == DeliveryStatus::Preparing).then_some(self.at)
    }

    /// Returns true if the step is news for the member: a delivery in preparation and its end, but not the end of an
    /// unpaid order.
    ///
    /// `prepared_at` is the delivery's.
    pub(super) fn is_news(&self, prepared_at: Option<Time>) -> bool {
        self.status != DeliveryStatus::Waiting && prepared_at.is_some()
    }

    /// Returns the event of this step.
    pub(super) fn taken(&self, delivery_id: DeliveryId, delivery_version: i64) -> DeliveryChanged {
        DeliveryChanged {
            delivery_id,
            delivery_version,
            order_id: self.order_id,
            member_id: self.member_id,
            status: self.status,
            changed_at: self.at,
        }
    }
}
