//! Tables of coupons.

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    coupon (id) {
        id -> Uuid,
        name -> Text,
        percent_hundredths -> Nullable<Integer>,
        max_discount -> Nullable<BigInt>,
        amount -> Nullable<BigInt>,
        min_order -> BigInt,
        quantity -> BigInt,
        issued -> BigInt,
        opens_at -> Nullable<UtcTime>,
        closes_at -> Nullable<UtcTime>,
        valid_days -> Nullable<Integer>,
        created_at -> UtcTime,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    owned_coupon (id) {
        id -> Uuid,
        coupon_id -> Uuid,
        member_id -> Uuid,
        request_id -> Uuid,
        position -> BigInt,
        ordinal -> BigInt,
        status -> Text,
        order_id -> Nullable<Uuid>,
        version -> BigInt,
        issued_at -> UtcTime,
        expires_at -> Nullable<UtcTime>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    coupon_request (request_id) {
        request_id -> Uuid,
        coupon_id -> Uuid,
        member_id -> Uuid,
        position -> BigInt,
        status -> Text,
        owned_coupon_id -> Nullable<Uuid>,
        won_position -> Nullable<BigInt>,
        reason -> Nullable<Text>,
        requested_at -> UtcTime,
        handled_at -> UtcTime,
    }
}

diesel::joinable!(owned_coupon -> coupon (coupon_id));
diesel::allow_tables_to_appear_in_same_query!(coupon, owned_coupon);
