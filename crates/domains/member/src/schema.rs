//! Tables of members and sessions.

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    member (id) {
        id -> Uuid,
        email -> Text,
        name -> Text,
        role -> Text,
        password_hash -> Text,
        created_at -> UtcTime,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    session (id) {
        id -> Uuid,
        member_id -> Uuid,
        created_at -> UtcTime,
        expires_at -> UtcTime,
        revoked_at -> Nullable<UtcTime>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};

    refresh_token (hash) {
        hash -> Binary,
        session_id -> Uuid,
        expires_at -> UtcTime,
        rotated_at -> Nullable<UtcTime>,
    }
}

diesel::joinable!(session -> member (member_id));
diesel::allow_tables_to_appear_in_same_query!(member, session);
