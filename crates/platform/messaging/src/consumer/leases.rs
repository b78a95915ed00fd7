//! Assignment of partitions to the members of a group: members, and leases in the database.

use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use db::{Conn, Prepare, Tx, on_each};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Text};

use crate::consumer::group::Lease;
use crate::schema::{group_lease, group_member};

/// A partition of a group: topic and number.
pub(crate) type Part = (Arc<str>, i32);

/// Result of a member's renewal.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Current leases. `true`: newly taken, from a holder that did not release the lease.
    pub(crate) leases: Vec<(Lease, bool)>,
    /// Number of leases above the fair share.
    pub(crate) surplus: usize,
}

/// State that the members of a group act on, in a few numbers: living members, leases, positions, and keys to resume.
pub(crate) type Digest = Vec<i64>;

#[derive(QueryableByName)]
struct DigestRow {
    #[diesel(sql_type = Array<BigInt>)]
    digest: Digest,
}

/// Renews the member. Returns no row if the member has expired and was forgotten.
///
/// A forgotten member is deleted first, and then its leases are taken. So a member that finds its row still has all
/// its leases.
const STAY: &str = r#"WITH me AS (
    UPDATE group_member SET expires_at = now() + make_interval(secs => $3)
    WHERE grp = $1 AND member = $2 RETURNING member
)
SELECT ARRAY[
    (SELECT coalesce(bit_xor(uuid_hash_extended(other.member, 0)), 0)
     FROM group_member other WHERE grp = $1 AND other.member <> $2 AND expires_at > now()),
    (SELECT coalesce(bit_xor(hash_record_extended(lease, 0)), 0) FROM group_lease lease WHERE grp = $1),
    (SELECT coalesce(bit_xor(hash_record_extended(place, 0)), 0) FROM group_position place WHERE grp = $1),
    (SELECT count(*) FROM blocked_key LEFT JOIN dead_letter ON id = dead_letter
     WHERE blocked_key.grp = $1 AND status IS DISTINCT FROM 'dead')
    + (SELECT count(*) FROM dead_letter WHERE grp = $1 AND status = 'replay')
] AS digest FROM me"#;

/// Renews the member and the member's leases for `ttl`, by one statement. Returns the digest of the group's state;
/// `None` on SQLite, and if the member has to [`renew`].
pub(crate) fn stay(conn: &mut Conn, group: &str, member: Id, ttl: Duration) -> db::Result<Option<Digest>> {
    let Conn::Pg(conn) = conn else { return Ok(None) };
    let stay = diesel::sql_query(STAY)
        .bind::<Text, _>(group)
        .bind::<db::types::Uuid, _>(member)
        .bind::<Double, _>(ttl.as_secs_f64());
    let row: Option<DigestRow> = stay.prepared().get_result(conn).optional()?;
    Ok(row.map(|row| row.digest))
}

#[derive(Queryable)]
struct LeaseRow {
    topic: String,
    partition: i32,
    number: i64,
    holder: Option<Id>,
}

/// Renews the member for `ttl`, and takes free leases up to the fair share: leases without a living holder.
///
/// A free lease that another member takes at the same time is left to that member.
pub(crate) fn renew(tx: &mut Tx<'_>, group: &str, member: Id, ttl: Duration) -> db::Result<Held> {
    let now = tx.now()?;
    let expires_at = now + ttl;
    let me = (group_member::grp.eq(group), group_member::member.eq(member), group_member::expires_at.eq(expires_at));
    on_each!(&mut **tx, |conn| diesel::insert_into(group_member::table)
        .values(me)
        .on_conflict((group_member::grp, group_member::member))
        .do_update()
        .set(group_member::expires_at.eq(expires_at))
        .execute(conn))?;
    // a member that renews itself at the same time is not forgotten
    let gone = group_member::table.filter(group_member::grp.eq(group)).filter(group_member::expires_at.le(now));
    diesel::delete(gone).execute(&mut **tx)?;
    let rows: Vec<LeaseRow> = group_lease::table
        .filter(group_lease::grp.eq(group))
        .order((group_lease::topic, group_lease::partition))
        .select((group_lease::topic, group_lease::partition, group_lease::number, group_lease::holder))
        .load(&mut **tx)?;
    // behind the leases: whoever joined and took one since is a member here
    let members: Vec<Id> = group_member::table
        .filter(group_member::grp.eq(group))
        .order(group_member::member)
        .select(group_member::member)
        .load(&mut **tx)?;
    let share = share(rows.len(), &members, member);
    let mine = rows.iter().filter(|row| row.holder == Some(member)).count();
    let mut may_take = share.saturating_sub(mine);
    let mut held = Held { surplus: mine.saturating_sub(share), ..Held::default() };
    for row in rows {
        let is_mine = row.holder == Some(member);
        let is_free = row.holder.is_none_or(|holder| !members.contains(&holder));
        let mut lease = Lease { topic: row.topic.into(), partition: row.partition, number: row.number, holder: member };
        if !is_mine {
            lease.number += 1;
            if !is_free || may_take == 0 || !take(tx, group, &lease)? {
                continue;
            }
            may_take -= 1;
        }
        held.leases.push((lease, !is_mine && row.holder.is_some()));
    }
    Ok(held)
}

/// Takes a free lease, with a number raised by one; returns false if another member was faster, or is about to take
/// the lease.
fn take(tx: &mut Tx<'_>, group: &str, lease: &Lease) -> db::Result<bool> {
    let free = group_lease::table
        .find((group, &*lease.topic, lease.partition))
        .filter(group_lease::number.eq(lease.number - 1));
    if let Conn::Pg(conn) = &mut **tx {
        let locked = free.select(group_lease::number).for_update().skip_locked();
        if locked.first::<i64>(conn).optional()?.is_none() {
            return Ok(false);
        }
    }
    let taken = diesel::update(free).set((group_lease::holder.eq(lease.holder), group_lease::number.eq(lease.number)));
    Ok(taken.execute(&mut **tx)? == 1)
}

/// Returns the member's share of `parts`: shares differ by at most one, and add up to the whole.
fn share(parts: usize, members: &[Id], member: Id) -> usize {
    let rank = members.iter().position(|other| *other == member).unwrap_or(members.len());
    let count = members.len().max(1);
    parts / count + usize::from(rank < parts % count)
}

/// Releases a partition, so that another member takes the lease at the next renewal.
pub(crate) fn release(conn: &mut Conn, group: &str, lease: &Lease) -> db::Result<()> {
    diesel::update(group_lease::table.find((group, &*lease.topic, lease.partition)))
        .filter(group_lease::number.eq(lease.number))
        .set(group_lease::holder.eq(None::<Id>))
        .execute(conn)?;
    Ok(())
}

/// Leaves the group: releases all leases, and no longer counts for shares.
pub(crate) fn leave(conn: &mut Conn, group: &str, member: Id) -> db::Result<()> {
    diesel::update(group_lease::table)
        .filter(group_lease::grp.eq(group))
        .filter(group_lease::holder.eq(member))
        .set(group_lease::holder.eq(None::<Id>))
        .execute(conn)?;
    diesel::delete(group_member::table.find((group, member))).execute(conn)?;
    Ok(())
}

/// Returns true if the lease is still the newest of its partition. The lease stays so until the end of the
/// transaction, so that the next holder sees everything recorded.
pub(crate) fn is_newest(conn: &mut Conn, group: &str, lease: &Lease) -> db::Result<bool> {
    let row = group_lease::table.find((group, &*lease.topic, lease.partition)).select(group_lease::number);
    let number: Option<i64> = match conn {
        Conn::Pg(conn) => row.for_share().first(conn).optional()?,
        Conn::Sqlite(conn) => row.first(conn).optional()?,
    };
    Ok(number == Some(lease.number))
}

/// Returns the number of the newest lease of a partition.
pub(crate) fn number(conn: &mut Conn, group: &str, lease: &Lease) -> db::Result<Option<i64>> {
    let row = group_lease::table.find((group, &*lease.topic, lease.partition)).select(group_lease::number);
    Ok(row.first(conn).optional()?)
}

/// Deletes all members, and so the holders of all leases: only for a database of one process.
pub(crate) fn forget_members(conn: &mut Conn) -> db::Result<()> {
    diesel::delete(group_member::table).execute(conn)?;
    Ok(())
}
