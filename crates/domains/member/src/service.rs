//! Registering, signing in, and staying signed in.

use std::time::Duration;

use contracts::MemberId;
use db::types::Time;
use db::{Conn, Tx};

use crate::error::MemberError;
use crate::model::{self, Credentials, Member, NewMember, Role, Rotation, SessionId};
use crate::store::{self, MemberRow};

/// Takes up a new member.
///
/// # Errors
/// [`MemberError::EmailTaken`], also when two register at once; [`MemberError::Invalid`] names the field.
pub fn register(tx: &mut Tx<'_>, new: &NewMember, password_hash: &str) -> Result<Member, MemberError> {
    insert(tx, new, Role::Member, password_hash)?.ok_or(MemberError::EmailTaken)
}

/// Inserts the first admin, unless the e-mail address is taken: no member is promoted. Returns true after an insert.
///
/// # Errors
/// [`MemberError::Invalid`] names the field.
pub fn insert_admin_if_absent(
    tx: &mut Tx<'_>,
    email: &str,
    name: &str,
    password_hash: &str,
) -> Result<bool, MemberError> {
    let admin = NewMember { email: email.to_owned(), name: name.to_owned() };
    Ok(insert(tx, &admin, Role::Admin, password_hash)?.is_some())
}

fn insert(tx: &mut Tx<'_>, new: &NewMember, role: Role, password_hash: &str) -> Result<Option<Member>, MemberError> {
    let (email, name) = new.normalised()?;
    let row = MemberRow {
        id: MemberId::new(),
        email,
        name,
        role,
        password_hash: password_hash.to_owned(),
        created_at: tx.now()?,
    };
    Ok(store::insert(tx, &row)?.then(|| row.into()))
}

/// Returns the password hash of a member; the e-mail address may be in any case.
///
/// # Errors
/// Any error of the database.
pub fn credentials(conn: &mut Conn, email: &str) -> db::Result<Option<Credentials>> {
    Ok(store::by_email(conn, &model::normalised_email(email))?.map(Into::into))
}

/// Returns the password hash of a signed-in member.
///
/// # Errors
/// Any error of the database.
pub fn credentials_of(conn: &mut Conn, id: MemberId) -> db::Result<Option<Credentials>> {
    Ok(store::by_id(conn, id)?.map(Into::into))
}

/// Returns a member by id.
///
/// # Errors
/// Any error of the database.
pub fn get(conn: &mut Conn, id: MemberId) -> db::Result<Option<Member>> {
    Ok(store::by_id(conn, id)?.map(Into::into))
}

/// Returns all admins.
///
/// # Errors
/// Any error of the database.
pub fn admins(conn: &mut Conn) -> db::Result<Vec<Member>> {
    Ok(store::admins(conn)?.into_iter().map(Into::into).collect())
}

/// Returns at most `limit` members before `after`, newest first.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, after: Option<MemberId>, limit: i64) -> db::Result<Vec<Member>> {
    Ok(store::page(conn, after, limit)?.into_iter().map(Into::into).collect())
}

/// Changes the name.
///
/// # Errors
/// [`MemberError::NotFound`], [`MemberError::Invalid`]
pub fn rename(tx: &mut Tx<'_>, id: MemberId, name: &str) -> Result<Member, MemberError> {
    let name = model::checked_name(name)?;
    store::set_name(tx, id, &name)?.map(Into::into).ok_or(MemberError::NotFound)
}

/// Changes the password, and revokes the member's sessions, all but `keep`.
///
/// # Errors
/// [`MemberError::NotFound`]
pub fn set_password(
    tx: &mut Tx<'_>,
    id: MemberId,
    password_hash: &str,
    keep: Option<SessionId>,
) -> Result<(), MemberError> {
    let now = tx.now()?;
    if !store::set_password_hash(tx, id, password_hash)? {
        return Err(MemberError::NotFound);
    }
    Ok(store::revoke_all(tx, id, keep, now)?)
}

/// Signs a member in: the session lasts until `expires_at` unless the refresh token is renewed.
///
/// `refresh_hash` is the SHA-256 of the token, 32 bytes.
///
/// # Errors
/// Any error of the database; a hash of another length violates a constraint.
pub fn start_session(
    tx: &mut Tx<'_>,
    member: MemberId,
    refresh_hash: &[u8],
    expires_at: Time,
) -> db::Result<SessionId> {
    let (id, now) = (SessionId::new(), tx.now()?);
    store::insert_session(tx, id, member, now, expires_at)?;
    store::insert_token(tx, refresh_hash, id, expires_at)?;
    Ok(id)
}

/// Time for which a token that was rotated out still gives its successor: the answer may be lost, and a client may send
/// the token twice at once.
const REPEATED_WITHIN: Duration = Duration::from_secs(30);

/// Changes a refresh token for its successor, and lets the session last until `expires_at`. The same token has the same
/// successor each time.
///
/// A token that was rotated out more than 30 s before ends its session: either it was stolen, or its successor was.
/// Commit what this does whatever the answer is, and take [`Rotation::granted`] of it afterwards.
///
/// # Errors
/// Any error of the database.
pub fn rotate_session(tx: &mut Tx<'_>, old_hash: &[u8], new_hash: &[u8], expires_at: Time) -> db::Result<Rotation> {
    let now = tx.now()?;
    let is_first = store::rotate_out(tx, old_hash, now)?;
    let Some((session, rotated_at)) = store::rotated(tx, old_hash)? else {
        return Ok(Rotation::Refused);
    };
    let is_repeat = now <= rotated_at + REPEATED_WITHIN && store::is_token_of(tx, new_hash, session)?;
    if !is_first && !is_repeat {
        store::revoke(tx, session, now)?;
        return Ok(Rotation::Reused(session));
    }
    let Some(member) = store::extend(tx, session, now, expires_at)? else {
        return Ok(Rotation::Refused);
    };
    if is_first {
        store::insert_token(tx, new_hash, session, expires_at)?;
    }
    let member = store::by_id(tx, member)?.ok_or(db::Error::NotFound)?;
    Ok(Rotation::Renewed(session, member.into()))
}

/// Signs out. `false` when the session is unknown or was revoked before.
///
/// # Errors
/// Any error of the database.
pub fn revoke_session(tx: &mut Tx<'_>, id: SessionId) -> db::Result<bool> {
    let now = tx.now()?;
    store::revoke(tx, id, now)
}

/// Returns true if the session is neither revoked nor expired.
///
/// # Errors
/// Any error of the database.
pub fn session_is_live(conn: &mut Conn, id: SessionId) -> db::Result<bool> {
    store::is_live(conn, id, Time::now())
}

/// Deletes expired sessions and expired tokens, at most `limit` of each; returns how many rows of the larger chunk,
/// so that less than `limit` means there are no more.
///
/// # Errors
/// Any error of the database.
pub fn purge_sessions(tx: &mut Tx<'_>, limit: i64) -> db::Result<usize> {
    let now = tx.now()?;
    let sessions = store::expired_sessions(tx, now, limit)?;
    store::delete_sessions(tx, &sessions)?;
    let tokens = store::expired_tokens(tx, now, limit)?;
    store::delete_tokens(tx, &tokens)?;
    Ok(sessions.len().max(tokens.len()))
}
