//! Sessions ended before the expiry of their cookies, and the secret of all sessions, in the control database.

use std::collections::HashMap;

use db::types::Time;
use db::{Conn, Tx, on_each};
use diesel::prelude::*;
use program::Secret;
use sha2::{Digest, Sha256};

use crate::auth::session::Session;
use crate::cluster::schema::{ended_session, kept_secret};

/// Name of the secret for signing sessions.
const SESSIONS: &str = "admin-sessions";

/// SHA-256 of a session's id: a reader of the database learns no cookie.
pub(super) type Hash = [u8; 32];

pub(super) fn hash(session: &Session) -> Hash {
    Sha256::digest(session.id).into()
}

/// Returns the secret for signing sessions, created by the first proxy.
///
/// # Errors
/// Any error of the database.
pub(super) fn secret(tx: &mut Tx<'_>) -> db::Result<Secret> {
    use kept_secret as s;
    let made = s::value.eq(program::new_secret());
    let insert = diesel::insert_into(s::table).values((s::name.eq(SESSIONS), made)).on_conflict_do_nothing();
    on_each!(&mut **tx, |conn| insert.execute(conn))?;
    let value: String = s::table.find(SESSIONS).select(s::value).first(&mut **tx)?;
    Ok(Secret::from(value.as_str()))
}

/// Inserts the end of a session, and deletes sessions with expired cookies.
///
/// # Errors
/// Any error of the database.
pub(super) fn insert(tx: &mut Tx<'_>, session: Session) -> db::Result<()> {
    use ended_session as e;
    let now = tx.now()?;
    diesel::delete(e::table.filter(e::expires_at.lt(now))).execute(&mut **tx)?;
    let row = (e::hash.eq(hash(&session).to_vec()), e::expires_at.eq(session.expires_at));
    let insert = diesel::insert_into(e::table).values(row).on_conflict_do_nothing();
    on_each!(&mut **tx, |conn| insert.execute(conn))?;
    Ok(())
}

/// Returns the ended sessions, with the expiry of their cookies.
///
/// # Errors
/// Any error of the database.
pub(super) fn all(conn: &mut Conn) -> db::Result<HashMap<Hash, Time>> {
    use ended_session as e;
    let rows: Vec<(Vec<u8>, Time)> = e::table.select((e::hash, e::expires_at)).load(conn)?;
    Ok(rows.into_iter().filter_map(|(hash, expires_at)| Some((hash.try_into().ok()?, expires_at))).collect())
}
