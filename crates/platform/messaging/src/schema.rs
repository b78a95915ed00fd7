//! Tables of the event log and of consumer groups.

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;
    log_source (id) { id -> Uuid }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;
    topic_partition (topic, partition) {
        topic -> Text,
        partition -> Integer,
        next -> BigInt,
        relayed -> BigInt,
        floor -> BigInt,
        epoch -> Uuid,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};
    log_epoch (ordinal) {
        ordinal -> BigInt,
        id -> Uuid,
        life -> Text,
        opened_at -> UtcTime,
    }
}

diesel::table! {
    log_epoch_start (topic, partition, ordinal) {
        topic -> Text,
        partition -> Integer,
        ordinal -> BigInt,
        first -> BigInt,
    }
}

diesel::table! {
    topic_fence (topic, partitions, partition) {
        topic -> Text,
        partitions -> Integer,
        partition -> Integer,
        next -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{Json, UtcTime, Uuid};
    event_log (topic, partition, position) {
        topic -> Text,
        partition -> Integer,
        position -> BigInt,
        id -> Uuid,
        key -> Text,
        kind -> Text,
        version -> SmallInt,
        aggregate_version -> BigInt,
        occurred_at -> UtcTime,
        appended_at -> UtcTime,
        traceparent -> Nullable<Text>,
        payload -> Json,
        epoch -> BigInt,
    }
}

diesel::table! {
    consumer_group (name) {
        name -> Text,
        mode -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;
    group_position (grp, topic, partition, source) {
        grp -> Text,
        topic -> Text,
        partition -> Integer,
        source -> Uuid,
        position -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};
    group_member (grp, member) {
        grp -> Text,
        member -> Uuid,
        expires_at -> UtcTime,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;
    group_lease (grp, topic, partition) {
        grp -> Text,
        topic -> Text,
        partition -> Integer,
        number -> BigInt,
        holder -> Nullable<Uuid>,
    }
}

diesel::table! {
    handling_attempt (grp, topic, partition, position) {
        grp -> Text,
        topic -> Text,
        partition -> Integer,
        position -> BigInt,
        attempts -> Integer,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{Json, UtcTime, Uuid};
    dead_letter (id) {
        id -> Uuid,
        grp -> Text,
        topic -> Text,
        partition -> Integer,
        position -> BigInt,
        key -> Text,
        event_id -> Uuid,
        event -> Json,
        error -> Text,
        attempts -> Integer,
        status -> Text,
        failed_at -> UtcTime,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;
    blocked_key (grp, topic, key) {
        grp -> Text,
        topic -> Text,
        key -> Text,
        partition -> Integer,
        dead_letter -> Uuid,
        parked -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{Json, Uuid};
    parked_event (grp, topic, key, seq) {
        grp -> Text,
        topic -> Text,
        key -> Text,
        seq -> BigInt,
        partition -> Integer,
        position -> BigInt,
        event_id -> Uuid,
        event -> Json,
    }
}

diesel::table! {
    set_aside (topic, partition, position) {
        topic -> Text,
        partition -> Integer,
        position -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(blocked_key, dead_letter);
diesel::allow_tables_to_appear_in_same_query!(consumer_group, group_position);
