diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    purchase_order (id) {
        id -> Uuid,
        product_id -> Uuid,
        quantity -> BigInt,
        status -> Text,
        opened_at -> UtcTime,
        received_at -> Nullable<UtcTime>,
    }
}
