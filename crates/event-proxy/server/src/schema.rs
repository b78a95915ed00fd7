//! Tables of the proxy, besides the event log.

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{Json, UtcTime, Uuid};
    held (id) {
        id -> Uuid,
        topic -> Text,
        partition -> Integer,
        position -> BigInt,
        key -> Text,
        state -> Text,
        attempts -> Integer,
        next_attempt_at -> Nullable<UtcTime>,
        reason -> Nullable<Text>,
        refused_at -> UtcTime,
        changed_at -> UtcTime,
        kind -> Text,
        version -> SmallInt,
        aggregate_version -> BigInt,
        occurred_at -> UtcTime,
        traceparent -> Nullable<Text>,
        payload -> Json,
    }
}

diesel::table! {
    ledger (topic) {
        topic -> Text,
        appended_again -> BigInt,
        passed -> BigInt,
        discarded -> BigInt,
    }
}

diesel::table! {
    delivered_span (topic, partition, last) {
        topic -> Text,
        partition -> Integer,
        first -> BigInt,
        last -> BigInt,
        shift -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::UtcTime;
    topic (name) {
        name -> Text,
        partitions -> Integer,
        replication -> Nullable<Integer>,
        retention -> Nullable<BigInt>,
        created_at -> UtcTime,
        made_at -> Nullable<UtcTime>,
        deleted_at -> Nullable<UtcTime>,
    }
}
