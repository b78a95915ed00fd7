//! Coupons.

use std::str::FromStr;

use contracts::{CouponId, Money, OrderId, OwnedCouponId, RequestId};
use coupon::{Coupon, Discount, IssueRequest, NewCoupon, OwnedCoupon, OwnedStatus, RejectReason};
use db::types::Time;
use garde::Validate;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{line, texts};
use crate::http::kinds;
use crate::http::problem::Problem;

/// A new campaign.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CouponEntry {
    #[garde(custom(line(&coupon::NAME)))]
    #[schema(min_length = 1, max_length = 100, example = "first 100")]
    pub name: String,
    #[garde(dive)]
    pub discount: DiscountEntry,
    /// Minimum total for the use of the coupon.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<String>, example = "10000")]
    pub min_order: Option<Money>,
    /// Number of coupons.
    #[garde(range(min = 1, max = 10_000_000))]
    #[schema(minimum = 1, maximum = 10_000_000, example = 100)]
    pub quantity: i64,
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens_at: Option<Time>,
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<Time>,
    /// Validity of a won coupon in days of 24 hours.
    #[garde(range(min = 1, max = 3650))]
    #[schema(minimum = 1, maximum = 3650)]
    pub valid_days: Option<i32>,
}

/// Either `percent`, with or without `max_discount`, or `amount`.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscountEntry {
    /// A number or a string: over 0 and up to 100, with two digits after the point at most.
    #[serde(default, deserialize_with = "percent")]
    #[garde(skip)]
    #[schema(value_type = Option<f64>, example = 10)]
    pub percent: Option<Decimal>,
    /// Maximum discount by the percentage.
    #[garde(skip)]
    #[schema(value_type = Option<String>)]
    pub max_discount: Option<Money>,
    #[garde(skip)]
    #[schema(value_type = Option<String>, example = "5000")]
    pub amount: Option<Money>,
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(serde_json::Number),
        Text(String),
    }
    let wrong = || serde::de::Error::custom("must be a decimal number");
    let text = match Option::<Given>::deserialize(deserializer).map_err(|_| wrong())? {
        None => return Ok(None),
        Some(Given::Number(number)) => number.to_string(),
        Some(Given::Text(text)) => text,
    };
    Decimal::from_str_exact(&text).map(Some).map_err(|_| wrong())
}

impl DiscountEntry {
    fn into_discount(self) -> Result<Discount, Problem> {
        match self {
            Self { percent: Some(percent), max_discount, amount: None } => {
                Ok(Discount::Percent { percent, max_discount })
            }
            Self { percent: None, max_discount: None, amount: Some(amount) } => Ok(Discount::Amount(amount)),
            _ => Err(Problem::new(&kinds::INVALID_REQUEST)
                .field("discount", "must be either percent, with or without max_discount, or amount")),
        }
    }
}

impl CouponEntry {
    /// # Errors
    /// Names the wrong field.
    pub(crate) fn into_new(self) -> Result<NewCoupon, Problem> {
        Ok(NewCoupon {
            name: self.name,
            discount: self.discount.into_discount()?,
            min_order: self.min_order.unwrap_or(Money::ZERO),
            quantity: self.quantity,
            opens_at: self.opens_at,
            closes_at: self.closes_at,
            valid_days: self.valid_days,
        })
    }
}

/// New end of a campaign.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CouponPatch {
    #[garde(skip)]
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Time,
}

/// Discount of a coupon.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Discount)]
pub(crate) enum DiscountView {
    Percent {
        #[schema(value_type = f64, example = 10)]
        percent: serde_json::Number,
        #[schema(value_type = Option<String>)]
        max_discount: Option<Money>,
    },
    Amount {
        #[schema(value_type = String, example = "5000")]
        amount: Money,
    },
}

impl From<Discount> for DiscountView {
    fn from(discount: Discount) -> Self {
        match discount {
            Discount::Percent { percent, max_discount } => {
                let percent =
                    serde_json::Number::from_str(&percent.normalize().to_string()).expect("a decimal is a JSON number");
                Self::Percent { percent, max_discount }
            }
            Discount::Amount(amount) => Self::Amount { amount },
        }
    }
}

/// A campaign.
#[derive(Serialize, ToSchema)]
#[schema(as = Coupon)]
pub(crate) struct CouponView {
    #[schema(value_type = uuid::Uuid)]
    pub id: CouponId,
    pub name: String,
    pub discount: DiscountView,
    #[schema(value_type = String, example = "0")]
    pub min_order: Money,
    pub quantity: i64,
    pub issued: i64,
    pub remaining: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<Time>,
    pub valid_days: Option<i32>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
}

impl From<Coupon> for CouponView {
    fn from(coupon: Coupon) -> Self {
        Self {
            remaining: coupon.remaining(),
            id: coupon.id,
            name: coupon.name,
            discount: coupon.discount.into(),
            min_order: coupon.min_order,
            quantity: coupon.quantity,
            issued: coupon.issued,
            opens_at: coupon.opens_at,
            closes_at: coupon.closes_at,
            valid_days: coupon.valid_days,
            created_at: coupon.created_at,
        }
    }
}

/// A request for a coupon was taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssueRequestAccepted {
    #[schema(value_type = uuid::Uuid)]
    pub request_id: RequestId,
    /// URL of the request's outcome.
    pub status_url: String,
}

/// Status of a request for a coupon.
#[derive(Serialize, ToSchema)]
#[schema(as = IssueRequest)]
pub(crate) struct IssueRequestView {
    #[schema(value_type = uuid::Uuid)]
    pub request_id: RequestId,
    #[schema(value_type = texts::IssueRequestStatus)]
    pub status: &'static str,
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupon_id: Option<CouponId>,
    /// Position of the deciding request in the log; for a duplicate, the position of the winning request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// The coupon of the member.
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owned_coupon_id: Option<OwnedCouponId>,
    /// Reason of the rejection.
    #[schema(value_type = Option<texts::RejectReason>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<RejectReason>,
}

impl IssueRequestView {
    /// Returns the view of an undecided request.
    pub(crate) fn pending(request_id: RequestId) -> Self {
        Self { request_id, status: "pending", coupon_id: None, position: None, owned_coupon_id: None, reason: None }
    }
}

impl From<IssueRequest> for IssueRequestView {
    fn from(request: IssueRequest) -> Self {
        Self {
            request_id: request.request_id,
            status: request.status.as_str(),
            coupon_id: Some(request.coupon_id),
            position: Some(request.won_position.unwrap_or(request.position)),
            owned_coupon_id: request.owned_coupon_id,
            reason: request.reason,
        }
    }
}

/// A coupon of a member.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnedCoupon)]
pub(crate) struct OwnedCouponView {
    /// Value for `coupon_id` of an order.
    #[schema(value_type = uuid::Uuid)]
    pub id: OwnedCouponId,
    #[schema(value_type = uuid::Uuid)]
    pub coupon_id: CouponId,
    pub name: String,
    #[schema(value_type = texts::OwnedCouponStatus)]
    pub status: OwnedStatus,
    pub discount: DiscountView,
    #[schema(value_type = String, example = "0")]
    pub min_order: Money,
    /// The order with the coupon.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub order_id: Option<OrderId>,
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Time>,
}

impl From<OwnedCoupon> for OwnedCouponView {
    fn from(owned: OwnedCoupon) -> Self {
        Self {
            id: owned.id,
            coupon_id: owned.coupon_id,
            name: owned.name,
            status: owned.status,
            discount: owned.discount.into(),
            min_order: owned.min_order,
            order_id: owned.order_id,
            issued_at: owned.issued_at,
            expires_at: owned.expires_at,
        }
    }
}

/// Comparison of a coupon's owners with the requests in the log.
#[derive(Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub(crate) struct ReconciliationView {
    pub limit: i64,
    pub issued: i64,
    pub distinct_members: i64,
    /// True if the owners are the first distinct members in the order of the log.
    pub in_log_order: bool,
    /// True if all figures agree.
    pub consistent: bool,
}

impl From<coupon::Reconciliation> for ReconciliationView {
    fn from(found: coupon::Reconciliation) -> Self {
        let coupon::Reconciliation { limit, issued, distinct_members, in_log_order, consistent } = found;
        Self { limit, issued, distinct_members, in_log_order, consistent }
    }
}
