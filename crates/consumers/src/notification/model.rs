//! What events say to people.

use contracts::events::{
    CancelReason, CouponIssued, DeliveryChanged, DeliveryStatus, IncidentOpened, OrderCancelled, OrderLine,
    PaymentCompleted, StockLow,
};
use contracts::{Currency, MemberId, Money, shown};
use db::types::{Id, Time};
use messaging::{DomainEvent, Event, HandlerError};
use serde::Serialize;

db::text_enum!(
    /// What a notification is about.
    NotificationKind {
        PaymentCompleted => "payment-completed",
        CouponIssued => "coupon-issued",
        OrderCancelled => "order-cancelled",
        DeliveryChanged => "delivery-changed",
        StockLow => "stock-low",
        IncidentOpened => "incident-opened",
    }
);

impl NotificationKind {
    /// The subject of its mail.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::PaymentCompleted => "Your payment",
            Self::CouponIssued => "Your coupon",
            Self::OrderCancelled => "Your order",
            Self::DeliveryChanged => "Your delivery",
            Self::StockLow => "Low stock",
            Self::IncidentOpened => "Incident",
        }
    }
}

/// A notification in the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, diesel::Queryable)]
pub struct Notification {
    /// Counts the member's notifications, from 1.
    pub number: i64,
    pub kind: NotificationKind,
    /// A sentence in English.
    pub text: String,
    /// Id of the causing event.
    pub event_id: Id,
    /// When that happened.
    pub at: Time,
    pub read: bool,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Member(MemberId),
    /// Every admin.
    Admins,
}

/// What is to be told of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub event_id: Id,
    pub at: Time,
    pub audience: Audience,
    pub kind: NotificationKind,
    pub text: String,
}

/// `None` when nobody needs to be told.
///
/// # Errors
/// [`HandlerError::Failed`] for an event that can't be read.
pub(super) fn notice(event: &Event) -> Result<Option<Notice>, HandlerError> {
    use NotificationKind as Kind;
    let (audience, kind, text) = match event.kind.as_str() {
        PaymentCompleted::TYPE => {
            let paid: PaymentCompleted = event.decode()?;
            (Audience::Member(paid.member_id), Kind::PaymentCompleted, payment_text(&paid))
        }
        CouponIssued::TYPE => {
            let issued: CouponIssued = event.decode()?;
            (Audience::Member(issued.member_id), Kind::CouponIssued, coupon_text(&issued))
        }
        OrderCancelled::TYPE => {
            let cancelled: OrderCancelled = event.decode()?;
            (Audience::Member(cancelled.member_id), Kind::OrderCancelled, cancelled_text(&cancelled))
        }
        DeliveryChanged::TYPE => {
            let changed: DeliveryChanged = event.decode()?;
            let Some(text) = delivery_text(&changed) else { return Ok(None) };
            (Audience::Member(changed.member_id), Kind::DeliveryChanged, text)
        }
        StockLow::TYPE => (Audience::Admins, Kind::StockLow, stock_text(&event.decode()?)),
        IncidentOpened::TYPE => (Audience::Admins, Kind::IncidentOpened, incident_text(&event.decode()?)),
        _ => return Ok(None),
    };
    Ok(Some(Notice { event_id: event.id, at: event.occurred_at, audience, kind, text }))
}

/// `notice` of each event that has one.
pub(super) fn notices(events: &[Event]) -> Result<Vec<Notice>, HandlerError> {
    events.iter().filter_map(|event| notice(event).transpose()).collect()
}

fn amount(money: Money) -> String {
    format!("{money} {}", Currency::get().code)
}

/// `Keyboard and 2 more`
fn goods(lines: &[OrderLine]) -> String {
    match lines {
        [] => "nothing".into(),
        [line] => line.name.clone(),
        [line, more @ ..] => format!("{} and {} more", line.name, more.len()),
    }
}

fn payment_text(paid: &PaymentCompleted) -> String {
    let goods = goods(&paid.lines);
    if paid.discount.is_positive() {
        return format!("You paid {} for {goods}, {} less by coupon.", amount(paid.amount), amount(paid.discount));
    }
    format!("You paid {} for {goods}.", amount(paid.amount))
}

fn coupon_text(issued: &CouponIssued) -> String {
    let coupon = format!("You won the coupon {}, number {}", issued.coupon_name, issued.ordinal);
    match issued.expires_at {
        Some(end) => format!("{coupon}; it is valid until {}.", shown(end)),
        None => format!("{coupon}."),
    }
}

fn cancelled_text(cancelled: &OrderCancelled) -> String {
    let goods = goods(&cancelled.lines);
    match cancelled.reason {
        CancelReason::Cancelled => format!("Your order of {goods} was cancelled."),
        CancelReason::Expired => format!("Your order of {goods} was not paid in time and has expired."),
        CancelReason::Refunded => format!("Your order of {goods} was cancelled, and you got your money back."),
    }
}

/// `None` while the order waits to be paid: whoever placed it knows.
fn delivery_text(changed: &DeliveryChanged) -> Option<String> {
    let order = changed.order_id;
    Some(match changed.status {
        DeliveryStatus::Waiting => return None,
        DeliveryStatus::Preparing => format!("Your order {order} is being packed."),
        DeliveryStatus::Shipped => format!("Your order {order} is on its way."),
        DeliveryStatus::Delivered => format!("Your order {order} was delivered."),
        DeliveryStatus::Cancelled => format!("Your order {order} will not be delivered."),
    })
}

fn stock_text(low: &StockLow) -> String {
    format!(
        "Product {} is down to {}, under its threshold of {}; {} were ordered.",
        low.product_id, low.available, low.low_stock_threshold, low.ordered
    )
}

fn incident_text(opened: &IncidentOpened) -> String {
    let reason = opened.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("Incident: {} of {}{reason}.", opened.kind, opened.key)
}
