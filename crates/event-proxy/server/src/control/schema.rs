//! Tables of the control database.

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
