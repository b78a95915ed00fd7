diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    delivery (order_id) {
        order_id -> Uuid,
        id -> Uuid,
        member_id -> Uuid,
        status -> Text,
        version -> BigInt,
        order_version -> BigInt,
        changed_at -> UtcTime,
        prepared_at -> Nullable<UtcTime>,
        shipped_at -> Nullable<UtcTime>,
        delivered_at -> Nullable<UtcTime>,
    }
}
