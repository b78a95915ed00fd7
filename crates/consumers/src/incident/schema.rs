diesel::table! {
    use diesel::sql_types::*;
    use db::types::{Json, UtcTime, Uuid};

    incident (id) {
        id -> Uuid,
        event_id -> Uuid,
        topic -> Text,
        kind -> Text,
        key -> Text,
        reason -> Nullable<Text>,
        event -> Json,
        occurred_at -> UtcTime,
        opened_at -> UtcTime,
    }
}
