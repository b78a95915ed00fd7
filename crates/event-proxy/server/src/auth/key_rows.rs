//! The SQL of API keys.

use db::types::{Id, JsonText, Time};
use db::{Conn, Tx};
use diesel::prelude::*;

use crate::auth::keys::{ApiKey, Hash, NewKey};
use crate::cluster::schema::api_key;

#[derive(Queryable, Insertable)]
#[diesel(table_name = api_key, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    hash: Vec<u8>,
    name: String,
    services: JsonText,
    events_per_second: Option<i64>,
    bytes_per_second: Option<i64>,
    created_at: Time,
    rotated_at: Option<Time>,
    revoked_at: Option<Time>,
}

impl TryFrom<Row> for ApiKey {
    type Error = db::Error;

    fn try_from(row: Row) -> db::Result<Self> {
        let defect = |error| db::Error::Defect(format!("the services of the API key {}: {error}", row.id));
        Ok(Self {
            id: row.id,
            name: row.name,
            services: serde_json::from_str(&row.services.0).map_err(defect)?,
            events_per_second: row.events_per_second,
            bytes_per_second: row.bytes_per_second,
            created_at: row.created_at,
            rotated_at: row.rotated_at,
            revoked_at: row.revoked_at,
        })
    }
}

/// Returns all keys, the newest first.
pub(super) fn all(conn: &mut Conn) -> db::Result<Vec<ApiKey>> {
    let rows: Vec<Row> = api_key::table.order(api_key::id.desc()).load(conn)?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Returns the keys in force, each with its hash.
pub(super) fn in_force(conn: &mut Conn) -> db::Result<Vec<(Vec<u8>, ApiKey)>> {
    let mut rows: Vec<Row> = api_key::table.filter(api_key::revoked_at.is_null()).load(conn)?;
    let hashes: Vec<Vec<u8>> = rows.iter_mut().map(|row| std::mem::take(&mut row.hash)).collect();
    hashes.into_iter().zip(rows).map(|(hash, row)| Ok((hash, row.try_into()?))).collect()
}

pub(super) fn insert(tx: &mut Tx<'_>, id: Id, hash: &Hash, new: &NewKey) -> db::Result<ApiKey> {
    let services = serde_json::to_string(&new.services).map_err(|error| db::Error::Defect(error.to_string()))?;
    let row = Row {
        id,
        hash: hash.to_vec(),
        name: new.name.clone(),
        services: JsonText(services),
        events_per_second: new.events_per_second,
        bytes_per_second: new.bytes_per_second,
        created_at: tx.now()?,
        rotated_at: None,
        revoked_at: None,
    };
    diesel::insert_into(api_key::table).values(&row).execute(&mut **tx)?;
    row.try_into()
}

/// Replaces the hash. Returns `None` for an unknown or revoked key.
pub(super) fn rotate(tx: &mut Tx<'_>, id: Id, hash: &Hash) -> db::Result<Option<ApiKey>> {
    let now = tx.now()?;
    let rotated = diesel::update(api_key::table.find(id))
        .filter(api_key::revoked_at.is_null())
        .set((api_key::hash.eq(hash.to_vec()), api_key::rotated_at.eq(Some(now))))
        .returning(api_key::all_columns);
    rotated.get_result::<Row>(&mut **tx).optional()?.map(ApiKey::try_from).transpose()
}

/// Revokes the key. Returns `None` for an unknown or revoked key.
pub(super) fn revoke(tx: &mut Tx<'_>, id: Id) -> db::Result<Option<ApiKey>> {
    let now = tx.now()?;
    let revoked = diesel::update(api_key::table.find(id))
        .filter(api_key::revoked_at.is_null())
        .set(api_key::revoked_at.eq(Some(now)))
        .returning(api_key::all_columns);
    revoked.get_result::<Row>(&mut **tx).optional()?.map(ApiKey::try_from).transpose()
}
