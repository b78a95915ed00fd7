//! Schemas of fields with fixed texts: named enums of the OpenAPI document. The domains' enums know nothing of
//! OpenAPI; `#[schema(value_type = …)]` names these types instead.

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, schema::SchemaType};
use utoipa::{PartialSchema, ToSchema};

fn one_of(texts: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(texts)).into()
}

/// `Name: texts;` defines a schema with the name.
macro_rules! texts {
    ($($name:ident: $texts:expr;)+) => {$(
        #[doc = concat!("Schema `", stringify!($name), "`.")]
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                one_of($texts)
            }
        }

        impl ToSchema for $name {}
    )+};
}

/// The texts of an enum made by `db::text_enum!`.
macro_rules! all {
    ($of:ty) => {
        <$of>::ALL.iter().map(|variant| variant.as_str())
    };
}

texts! {
    ConsumerMode: ["rebuildable", "re-sendable", "once"];
    CouponChange: all!(consumers::coupon_history::What);
    DeadLetterStatus: ["dead", "replay", "discarded"];
    DeliveryStatus: all!(contracts::events::DeliveryStatus);
    EventStatus: all!(messaging::admin::EventStatus);
    IssueRequestStatus: std::iter::once("pending").chain(all!(coupon::IssueStatus));
    NotificationKind: all!(consumers::notification::NotificationKind);
    OrderStatus: all!(order::OrderStatus);
    OwnedCouponStatus: all!(coupon::OwnedStatus);
    ProductSort: ["newest", "price_asc", "price_desc", "name"];
    PurchaseOrderStatus: all!(consumers::replenishment::PurchaseOrderStatus);
    RejectReason: all!(coupon::RejectReason);
    Role: all!(member::Role);
    TransactionKind: all!(payment::TransactionKind);
}
