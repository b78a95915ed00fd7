//! Tables.

diesel::table! {
    use db::types::Uuid;
    use diesel::sql_types::BigInt;

    wallet (member_id) {
        member_id -> Uuid,
        balance -> BigInt,
    }
}

diesel::table! {
    use db::types::{UtcTime, Uuid};
    use diesel::sql_types::{BigInt, Nullable, Text};

    wallet_transaction (member_id, id) {
        member_id -> Uuid,
        id -> Uuid,
        kind -> Text,
        amount -> BigInt,
        balance_after -> BigInt,
        made_at -> UtcTime,
        order_id -> Nullable<Uuid>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(wallet, wallet_transaction);
