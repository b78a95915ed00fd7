//! Who of a group handles which partition: members, and leases in the database.

use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use db::{Conn, Tx, on_each};
use diesel::prelude::*;

use crate::handler::Lease;
use crate::schema::{group_lease, group_member};

/// A partition of a group: topic and number.
pub(crate) type Part = (Arc<str>, i32);

/// What a member learns when it renews.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What it holds now. `true`: newly taken, from a holder that did not let go.
    pub(crate) leases: Vec<(Lease, bool)>,
    /// How many of those it should give to others.
    pub(crate) surplus: usize,
}

#[derive(Queryable)]
struct LeaseRow {
    topic: String,
    partition: i32,
    number: i64,
    holder: Option<Id>,
    expires_at: db::types::Time,
}

/// Renews the member and its leases for `ttl`, and takes what is free up to its fair share.
///
/// Its own leases are renewed by one statement, however many there are. A free one that another member takes at the same
/// time is left to the other.
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
    let members = living(tx, group, now)?;
    let ours = group_lease::table.filter(group_lease::grp.eq(group)).filter(group_lease::holder.eq(member));
    diesel::update(ours).set(group_lease::expires_at.eq(expires_at)).execute(&mut **tx)?;
    let rows: Vec<LeaseRow> = group_lease::table
        .filter(group_lease::grp.eq(group))
        .order((group_lease::topic, group_lease::partition))
        .select((
            group_lease::topic,
            group_lease::partition,
            group_lease::number,
            group_lease::holder,
            group_lease::expires_at,
        ))
        .load(&mut **tx)?;
    let share = share(rows.len(), &members, member);
    let mine = rows.iter().filter(|row| row.holder == Some(member)).count();
    let mut may_take = share.saturating_sub(mine);
    let mut held = Held { surplus: mine.saturating_sub(share), ..Held::default() };
    for row in rows {
        let is_mine = row.holder == Some(member);
        let is_free = row.holder.is_none() || row.expires_at <= now;
        let mut lease = Lease { topic: row.topic.into(), partition: row.partition, number: row.number, holder: member };
        if !is_mine {
            lease.number += 1;
            if !is_free || may_take == 0 || !take(tx, group, &lease, expires_at)? {
                continue;
            }
            may_take -= 1;
        }
        held.leases.push((lease, !is_mine && row.holder.is_some()));
    }
    Ok(held)
}

/// Takes a free lease, whose number was one less; false if another member was faster, or is about to take it.
fn take(tx: &mut Tx<'_>, group: &str, lease: &Lease, expires_at: db::types::Time) -> db::Result<bool> {
    let free = group_lease::table
        .find((group, &*lease.topic, lease.partition))
        .filter(group_lease::number.eq(lease.number - 1));
    if let Conn::Pg(conn) = &mut **tx {
        let locked = free.select(group_lease::number).for_update().skip_locked();
        if locked.first::<i64>(conn).optional()?.is_none() {
            return Ok(false);
        }
    }
    let taken = diesel::update(free).set((
        group_lease::holder.eq(lease.holder),
        group_lease::number.eq(lease.number),
        group_lease::expires_at.eq(expires_at),
    ));
    Ok(taken.execute(&mut **tx)? == 1)
}

/// The members that have not run out, in the order of their ids; the others are forgotten.
fn living(tx: &mut Tx<'_>, group: &str, now: db::types::Time) -> db::Result<Vec<Id>> {
    let all: Vec<(Id, db::types::Time)> = group_member::table
        .filter(group_member::grp.eq(group))
        .order(group_member::member)
        .select((group_member::member, group_member::expires_at))
        .load(&mut **tx)?;
    if all.iter().any(|(_, expires_at)| *expires_at <= now) {
        let gone = group_member::table.filter(group_member::grp.eq(group)).filter(group_member::expires_at.le(now));
        diesel::delete(gone).execute(&mut **tx)?;
    }
    Ok(all.into_iter().filter(|(_, expires_at)| *expires_at > now).map(|(member, _)| member).collect())
}

/// How many of `parts` are the member's: no two shares differ by more than one, and together they make the whole.
fn share(parts: usize, members: &[Id], member: Id) -> usize {
    let rank = members.iter().position(|other| *other == member).unwrap_or(members.len());
    let count = members.len().max(1);
    parts / count + usize::from(rank < parts % count)
}

/// Lets a partition go, so that another member takes it at its next renewal.
pub(crate) fn release(conn: &mut Conn, group: &str, lease: &Lease) -> db::Result<()> {
    diesel::update(group_lease::table.find((group, &*lease.topic, lease.partition)))
        .filter(group_lease::number.eq(lease.number))
        .set(group_lease::holder.eq(None::<Id>))
        .execute(conn)?;
    Ok(())
}

/// Leaves the group: lets all go, and counts no more for the others' shares.
pub(crate) fn leave(conn: &mut Conn, group: &str, member: Id) -> db::Result<()> {
    diesel::update(group_lease::table)
        .filter(group_lease::grp.eq(group))
        .filter(group_lease::holder.eq(member))
        .set(group_lease::holder.eq(None::<Id>))
        .execute(conn)?;
    diesel::delete(group_member::table.find((group, member))).execute(conn)?;
    Ok(())
}

/// Whether the lease is still the newest of its partition; it stays so until the transaction ends, so that what is
/// recorded is there before the next holder looks.
pub(crate) fn is_newest(conn: &mut Conn, group: &str, lease: &Lease) -> db::Result<bool> {
    let row = group_lease::table.find((group, &*lease.topic, lease.partition)).select(group_lease::number);
    let number: Option<i64> = match conn {
        Conn::Pg(conn) => row.for_share().first(conn).optional()?,
        Conn::Sqlite(conn) => row.first(conn).optional()?,
    };
    Ok(number == Some(lease.number))
}

/// The number of the newest lease of a partition.
pub(crate) fn number(conn: &mut Conn, group: &str, lease: &Lease) -> db::Result<Option<i64>> {
    let row = group_lease::table.find((group, &*lease.topic, lease.partition)).select(group_lease::number);
    Ok(row.first(conn).optional()?)
}

/// Forgets all members and lets all leases run out: only where no other process can be.
pub(crate) fn forget_members(tx: &mut Tx<'_>) -> db::Result<()> {
    let now = tx.now()?;
    diesel::delete(group_member::table).execute(&mut **tx)?;
    diesel::update(group_lease::table).set(group_lease::expires_at.eq(now)).execute(&mut **tx)?;
    Ok(())
}
