//! The table of the coupon history.

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    coupon_history (member_id, id) {
        member_id -> Uuid,
        id -> Uuid,
        owned_coupon_id -> Uuid,
        coupon_id -> Uuid,
        what -> Text,
        at -> UtcTime,
    }
}
