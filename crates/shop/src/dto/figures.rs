//! Settlement, analytics and purchase orders, for administrators.

use chrono::NaiveDate;
use consumers::replenishment::{PurchaseOrder, PurchaseOrderStatus};
use consumers::{analytics, settlement};
use contracts::{CouponId, Money, ProductId, PurchaseOrderId};
use db::types::Time;
use serde::Serialize;
use utoipa::ToSchema;

use super::texts;

/// Figures of a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettlementDay {
    pub date: NaiveDate,
    /// Sum before discounts.
    #[schema(value_type = String)]
    pub gross: Money,
    #[schema(value_type = String)]
    pub discount: Money,
    #[schema(value_type = String)]
    pub refunded: Money,
    #[schema(value_type = String)]
    pub net: Money,
    /// Number of payments.
    pub payments: i64,
}

impl From<settlement::Day> for SettlementDay {
    fn from(day: settlement::Day) -> Self {
        let settlement::Day { date, gross, discount, refunded, net, payments } = day;
        Self { date, gross, discount, refunded, net, payments }
    }
}

/// The sales of a day.
#[derive(Serialize, ToSchema)]
#[schema(as = SalesDay)]
pub(crate) struct SalesDayView {
    pub date: NaiveDate,
    /// Orders placed.
    pub orders: i64,
    /// Payments made.
    pub paid: i64,
    #[schema(value_type = String)]
    pub revenue: Money,
    /// Payments given back.
    pub refunds: i64,
    #[schema(value_type = String)]
    pub refunded: Money,
}

impl From<analytics::SalesDay> for SalesDayView {
    fn from(day: analytics::SalesDay) -> Self {
        let analytics::SalesDay { date, orders, paid, revenue, refunds, refunded } = day;
        Self { date, orders, paid, revenue, refunds, refunded }
    }
}

/// Figures of a coupon.
#[derive(Serialize, ToSchema)]
#[schema(as = CouponFigures)]
pub(crate) struct CouponFiguresView {
    #[schema(value_type = uuid::Uuid)]
    pub coupon_id: CouponId,
    pub name: String,
    pub issued: i64,
    pub days: Vec<CouponDayView>,
}

/// Number of issues of a coupon on a day.
#[derive(Serialize, ToSchema)]
#[schema(as = CouponDay)]
pub(crate) struct CouponDayView {
    pub date: NaiveDate,
    pub issued: i64,
}

impl From<analytics::CouponFigures> for CouponFiguresView {
    fn from(figures: analytics::CouponFigures) -> Self {
        let days = figures.days.into_iter().map(|day| CouponDayView { date: day.date, issued: day.issued });
        Self { coupon_id: figures.coupon_id, name: figures.name, issued: figures.issued, days: days.collect() }
    }
}

/// The shop's order for more of a product.
#[derive(Serialize, ToSchema)]
#[schema(as = PurchaseOrder)]
pub(crate) struct PurchaseOrderView {
    #[schema(value_type = uuid::Uuid)]
    pub id: PurchaseOrderId,
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    pub quantity: i64,
    #[schema(value_type = texts::PurchaseOrderStatus)]
    pub status: PurchaseOrderStatus,
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub received_at: Option<Time>,
}

impl From<PurchaseOrder> for PurchaseOrderView {
    fn from(order: PurchaseOrder) -> Self {
        let PurchaseOrder { id, product_id, quantity, status, opened_at, received_at } = order;
        Self { id, product_id, quantity, status, opened_at, received_at }
    }
}
