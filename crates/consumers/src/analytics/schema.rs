diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    product_sales_hour (hour, product_id) {
        hour -> UtcTime,
        product_id -> Uuid,
        sold -> BigInt,
    }
}

diesel::table! {
    sales_day (day) {
        day -> Date,
        orders -> BigInt,
        paid -> BigInt,
        revenue -> BigInt,
        refunds -> BigInt,
        refunded -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;

    coupon_issue_day (coupon_id, day) {
        coupon_id -> Uuid,
        day -> Date,
        coupon_name -> Text,
        issued -> BigInt,
    }
}
