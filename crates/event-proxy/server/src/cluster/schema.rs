//! Tables of the control database.

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{Json, UtcTime, Uuid};

    api_key (id) {
        id -> Uuid,
        hash -> Binary,
        name -> Text,
        services -> Json,
        events_per_second -> Nullable<BigInt>,
        bytes_per_second -> Nullable<BigInt>,
        created_at -> UtcTime,
        rotated_at -> Nullable<UtcTime>,
        revoked_at -> Nullable<UtcTime>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    audit (id) {
        id -> Uuid,
        at -> UtcTime,
        who -> Text,
        action -> Text,
        subject -> Text,
        detail -> Text,
    }
}

diesel::table! {
    kept_secret (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::UtcTime;

    ended_session (hash) {
        hash -> Binary,
        expires_at -> UtcTime,
    }
}
