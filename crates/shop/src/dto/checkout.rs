//! Orders, payments and wallets.

use contracts::events::{DeliveryStatus, OrderLine};
use contracts::{DeliveryId, MemberId, Money, OrderId, OwnedCouponId, PaymentId, ProductId};
use db::types::{Id, Time};
use garde::Validate;
use order::{Order, OrderStatus};
use payment::{Payment, TransactionKind, WalletTransaction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::texts;

/// A member's order.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderRequest {
    /// Lines of the same product are added up.
    #[garde(length(min = 1, max = order::MAX_LINES), dive)]
    #[schema(min_items = 1, max_items = 100)]
    pub items: Vec<OrderItem>,
    /// A coupon of the member.
    #[garde(skip)]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub coupon_id: Option<OwnedCouponId>,
}

/// A line of an order to be.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderItem {
    #[garde(skip)]
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    /// Units.
    #[garde(range(min = 1, max = order::MAX_QUANTITY))]
    #[schema(minimum = 1, maximum = 10_000, example = 2)]
    pub quantity: i64,
}

/// An order.
#[derive(Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderView {
    #[schema(value_type = uuid::Uuid)]
    pub id: OrderId,
    #[schema(value_type = uuid::Uuid)]
    pub member_id: MemberId,
    #[schema(value_type = texts::OrderStatus)]
    pub status: OrderStatus,
    pub items: Vec<LineView>,
    /// Total before the discount.
    #[schema(value_type = String, example = "39800")]
    pub total: Money,
    #[schema(value_type = String, example = "3980")]
    pub discount: Money,
    /// Returns the total without the discount.
    #[schema(value_type = String, example = "35820")]
    pub payable: Money,
    #[schema(value_type = Option<uuid::Uuid>)]
    pub coupon_id: Option<OwnedCouponId>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
    /// End of the time for payment.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paid_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub shipped_at: Option<Time>,
    /// Time of the end without a sale.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Time>,
}

/// A line of an order, as bought.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderLine)]
pub(crate) struct LineView {
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    pub name: String,
    /// Price of one unit.
    #[schema(value_type = String, example = "19900")]
    pub price: Money,
    pub quantity: i64,
}

impl From<OrderLine> for LineView {
    fn from(line: OrderLine) -> Self {
        let OrderLine { product_id, name, price, quantity } = line;
        Self { product_id, name, price, quantity }
    }
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            member_id: order.member_id,
            status: order.status,
            items: order.lines.into_iter().map(Into::into).collect(),
            total: order.total,
            discount: order.discount,
            payable: order.payable,
            coupon_id: order.owned_coupon_id,
            created_at: order.created_at,
            expires_at: order.expires_at,
            paid_at: order.paid_at,
            shipped_at: order.shipped_at,
            closed_at: order.closed_at,
        }
    }
}

/// The payment of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentView {
    #[schema(value_type = uuid::Uuid)]
    pub payment_id: PaymentId,
    #[schema(value_type = uuid::Uuid)]
    pub order_id: OrderId,
    #[schema(value_type = String, example = "35820")]
    pub amount: Money,
    #[schema(value_type = String, format = DateTime)]
    pub paid_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub refunded_at: Option<Time>,
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            payment_id: payment.id,
            order_id: payment.order_id,
            amount: payment.amount,
            paid_at: payment.paid_at,
            refunded_at: payment.refunded_at,
        }
    }
}

/// Money brought into a wallet.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WalletCharge {
    #[garde(custom(positive))]
    #[schema(value_type = String, example = "100000")]
    pub amount: Money,
}

fn positive(amount: &Money, _: &()) -> garde::Result {
    if amount.is_positive() { Ok(()) } else { Err(garde::Error::new("must be more than nothing")) }
}

/// Balance of a wallet.
#[derive(Serialize, ToSchema)]
pub(crate) struct Balance {
    #[schema(value_type = String, example = "100000")]
    pub balance: Money,
}

/// A change of a wallet.
#[derive(Serialize, ToSchema)]
#[schema(as = WalletTransaction)]
pub(crate) struct TransactionView {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    #[schema(value_type = texts::TransactionKind)]
    pub kind: TransactionKind,
    /// Never negative: a payment subtracts the amount.
    #[schema(value_type = String, example = "35820")]
    pub amount: Money,
    #[schema(value_type = String, example = "64180")]
    pub balance_after: Money,
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
}

impl From<WalletTransaction> for TransactionView {
    fn from(entry: WalletTransaction) -> Self {
        let WalletTransaction { id, kind, amount, balance_after, at, order_id } = entry;
        Self { id, kind, amount, balance_after, at, order_id }
    }
}

/// Delivery of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    #[schema(value_type = uuid::Uuid)]
    pub id: DeliveryId,
    #[schema(value_type = uuid::Uuid)]
    pub order_id: OrderId,
    #[schema(value_type = uuid::Uuid)]
    pub member_id: MemberId,
    #[schema(value_type = texts::DeliveryStatus)]
    pub status: DeliveryStatus,
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub shipped_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Time>,
}

impl From<consumers::delivery::Delivery> for DeliveryView {
    fn from(delivery: consumers::delivery::Delivery) -> Self {
        Self {
            id: delivery.id,
            order_id: delivery.order_id,
            member_id: delivery.member_id,
            status: delivery.status,
            changed_at: delivery.changed_at,
            shipped_at: delivery.shipped_at,
            delivered_at: delivery.delivered_at,
        }
    }
}
