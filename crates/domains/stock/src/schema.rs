//! Tables.

diesel::table! {
    use db::types::{UtcTime, Uuid};
    use diesel::sql_types::{BigInt, Bool, Text};

    product (id) {
        id -> Uuid,
        name -> Text,
        search_name -> Text,
        price -> BigInt,
        available -> BigInt,
        low_stock_threshold -> BigInt,
        on_sale -> Bool,
        version -> BigInt,
        created_at -> UtcTime,
    }
}

diesel::table! {
    use db::types::{UtcTime, Uuid};
    use diesel::sql_types::{BigInt, Text};

    stock_adjustment (product_id, id) {
        product_id -> Uuid,
        id -> Uuid,
        delta -> BigInt,
        available -> BigInt,
        reason -> Text,
        adjusted_at -> UtcTime,
    }
}

diesel::allow_tables_to_appear_in_same_query!(product, stock_adjustment);
