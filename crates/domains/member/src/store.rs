//! The SQL of members and sessions.

use contracts::MemberId;
use db::types::Time;
use db::{Conn, on_each};
use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::model::{Credentials, Member, Role, SessionId};
use crate::schema::{member, refresh_token, session};

#[derive(Queryable, Insertable)]
#[diesel(table_name = member, treat_none_as_default_value = false)]
pub struct MemberRow {
    pub id: MemberId,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub password_hash: String,
    pub created_at: Time,
}

impl From<MemberRow> for Credentials {
    fn from(row: MemberRow) -> Self {
        let MemberRow { id, email, name, role, password_hash, created_at } = row;
        Self { member: Member { id, email, name, role, created_at }, password_hash }
    }
}

impl From<MemberRow> for Member {
    fn from(row: MemberRow) -> Self {
        Credentials::from(row).member
    }
}

/// Inserts a member. Returns `false` if the e-mail address is taken.
pub(crate) fn insert(conn: &mut Conn, row: &MemberRow) -> db::Result<bool> {
    let inserted = on_each!(conn, |c| diesel::insert_into(member::table)
        .values(row)
        .on_conflict(member::email)
        .do_nothing()
        .execute(c))?;
    Ok(inserted == 1)
}

pub(crate) fn by_id(conn: &mut Conn, id: MemberId) -> db::Result<Option<MemberRow>> {
    Ok(member::table.find(id).first(conn).optional()?)
}

pub(crate) fn by_email(conn: &mut Conn, email: &str) -> db::Result<Option<MemberRow>> {
    Ok(member::table.filter(member::email.eq(email)).first(conn).optional()?)
}

/// Selects by a literal instead of a bound value, so that SQLite uses the partial index `member_admin`.
pub(crate) fn admins(conn: &mut Conn) -> db::Result<Vec<MemberRow>> {
    let admins = sql::<Bool>("role = 'admin'");
    Ok(member::table.filter(admins).order(member::id).load(conn)?)
}

pub(crate) fn page(conn: &mut Conn, after: Option<MemberId>, limit: i64) -> db::Result<Vec<MemberRow>> {
    let newest_first = member::table.order(member::id.desc()).limit(limit);
    Ok(match after {
        Some(after) => newest_first.filter(member::id.lt(after)).load(conn)?,
        None => newest_first.load(conn)?,
    })
}

pub(crate) fn set_name(conn: &mut Conn, id: MemberId, name: &str) -> db::Result<Option<MemberRow>> {
    let renamed = diesel::update(member::table.find(id)).set(member::name.eq(name)).returning(member::all_columns);
    Ok(renamed.get_result(conn).optional()?)
}

/// Sets the password hash. Returns `false` for an unknown member.
pub(crate) fn set_password_hash(conn: &mut Conn, id: MemberId, hash: &str) -> db::Result<bool> {
    Ok(diesel::update(member::table.find(id)).set(member::password_hash.eq(hash)).execute(conn)? == 1)
}

pub(crate) fn insert_session(
    conn: &mut Conn,
    id: SessionId,
    member: MemberId,
    created_at: Time,
    expires_at: Time,
) -> db::Result<()> {
    diesel::insert_into(session::table)
        .values((
            session::id.eq(id),
            session::member_id.eq(member),
            session::created_at.eq(created_at),
            session::expires_at.eq(expires_at),
        ))
        .execute(conn)?;
    Ok(())
}

pub(crate) fn insert_token(conn: &mut Conn, hash: &[u8], session: SessionId, expires_at: Time) -> db::Result<()> {
    diesel::insert_into(refresh_token::table)
        .values((
            refresh_token::hash.eq(hash),
            refresh_token::session_id.eq(session),
            refresh_token::expires_at.eq(expires_at),
        ))
        .execute(conn)?;
    Ok(())
}

/// Uses a token up. `false` when it is unknown, expired, or was used up before.
pub(crate) fn rotate_out(conn: &mut Conn, hash: &[u8], now: Time) -> db::Result<bool> {
    let used_up = diesel::update(refresh_token::table.find(hash))
        .filter(refresh_token::rotated_at.is_null())
        .filter(refresh_token::expires_at.gt(now))
        .set(refresh_token::rotated_at.eq(now));
    Ok(used_up.execute(conn)? == 1)
}

/// The session of a token that was used up, and the time of its use.
pub(crate) fn rotated(conn: &mut Conn, hash: &[u8]) -> db::Result<Option<(SessionId, Time)>> {
    let token = refresh_token::table.find(hash).select((refresh_token::session_id, refresh_token::rotated_at));
    let token: Option<(SessionId, Option<Time>)> = token.first(conn).optional()?;
    Ok(token.and_then(|(session, rotated_at)| Some((session, rotated_at?))))
}

/// Returns true if the session has had the token.
pub(crate) fn is_token_of(conn: &mut Conn, hash: &[u8], session: SessionId) -> db::Result<bool> {
    let token = refresh_token::table.find(hash).filter(refresh_token::session_id.eq(session));
    Ok(diesel::select(exists(token)).get_result(conn)?)
}

/// Lets a live session last until `expires_at`. Returns `None` if the session is revoked or has expired.
pub(crate) fn extend(conn: &mut Conn, id: SessionId, now: Time, expires_at: Time) -> db::Result<Option<MemberId>> {
    let extended = diesel::update(session::table.find(id))
        .filter(session::revoked_at.is_null())
        .filter(session::expires_at.gt(now))
        .set(session::expires_at.eq(expires_at))
        .returning(session::member_id);
    Ok(extended.get_result(conn).optional()?)
}

/// Revokes a session. Returns `false` if the session is unknown or already revoked.
pub(crate) fn revoke(conn: &mut Conn, id: SessionId, now: Time) -> db::Result<bool> {
    let live = diesel::update(session::table.find(id)).filter(session::revoked_at.is_null());
    Ok(live.set(session::revoked_at.eq(now)).execute(conn)? == 1)
}

/// Revokes the member's live sessions, all but `keep`.
pub(crate) fn revoke_all(conn: &mut Conn, member: MemberId, keep: Option<SessionId>, now: Time) -> db::Result<()> {
    // no session has the nil id
    let keep = keep.unwrap_or(SessionId(uuid::Uuid::nil()));
    diesel::update(session::table)
        .filter(session::member_id.eq(member))
        .filter(session::id.ne(keep))
        .filter(session::revoked_at.is_null())
        .filter(session::expires_at.gt(now))
        .set(session::revoked_at.eq(now))
        .execute(conn)?;
    Ok(())
}

pub(crate) fn is_live(conn: &mut Conn, id: SessionId, now: Time) -> db::Result<bool> {
    let live = session::table.find(id).filter(session::revoked_at.is_null()).filter(session::expires_at.gt(now));
    Ok(diesel::select(exists(live)).get_result(conn)?)
}

pub(crate) fn expired_sessions(conn: &mut Conn, now: Time, limit: i64) -> db::Result<Vec<SessionId>> {
    let expired = session::table.filter(session::expires_at.le(now)).order(session::expires_at).limit(limit);
    Ok(expired.select(session::id).load(conn)?)
}

pub(crate) fn delete_sessions(conn: &mut Conn, ids: &[SessionId]) -> db::Result<()> {
    on_each!(conn, |c| diesel::delete(refresh_token::table.filter(refresh_token::session_id.eq_any(ids))).execute(c))?;
    on_each!(conn, |c| diesel::delete(session::table.filter(session::id.eq_any(ids))).execute(c))?;
    Ok(())
}

/// Returns expired tokens of living sessions; an expired token counts as unknown.
pub(crate) fn expired_tokens(conn: &mut Conn, now: Time, limit: i64) -> db::Result<Vec<Vec<u8>>> {
    let expired =
        refresh_token::table.filter(refresh_token::expires_at.le(now)).order(refresh_token::expires_at).limit(limit);
    Ok(expired.select(refresh_token::hash).load(conn)?)
}

pub(crate) fn delete_tokens(conn: &mut Conn, hashes: &[Vec<u8>]) -> db::Result<()> {
    on_each!(conn, |c| diesel::delete(refresh_token::table.filter(refresh_token::hash.eq_any(hashes))).execute(c))?;
    Ok(())
}
