//! Tables.

diesel::table! {
    use db::types::{Json, UtcTime, Uuid};
    use diesel::sql_types::{BigInt, Nullable, Text};

    orders (id) {
        id -> Uuid,
        member_id -> Uuid,
        status -> Text,
        lines -> Json,
        total -> BigInt,
        discount -> BigInt,
        payable -> BigInt,
        owned_coupon_id -> Nullable<Uuid>,
        version -> BigInt,
        created_at -> UtcTime,
        expires_at -> UtcTime,
        paid_at -> Nullable<UtcTime>,
        shipped_at -> Nullable<UtcTime>,
        closed_at -> Nullable<UtcTime>,
    }
}
