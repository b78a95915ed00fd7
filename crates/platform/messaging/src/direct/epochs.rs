//! The epochs of a direct topic: from when to when its events went which way, and where each of them ends.

use std::collections::BTreeMap;
use std::ops::Range;

use db::types::{Id, Time};
use db::{Conn, Tx, on_each};
use diesel::prelude::*;

use super::Lost;
use crate::schema::{group_position, topic_epoch, topic_epoch_partition, topic_partition};
use crate::store::{self, PartitionRow};

/// Bits of a position that number within an epoch; those above are the epoch's number. So positions rise from epoch to
/// epoch, and a group's position tells in which one it is.
const BITS: u32 = 40;

/// A time in which all events of a topic go the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    pub number: i64,
    /// What its records on the bus are marked with.
    pub source: Id,
    /// Straight to the bus, or through the log.
    pub direct: bool,
    /// Where the bus is, once it has said so.
    pub cluster: Option<String>,
    /// No events are taken from then on.
    pub closed_at: Option<Time>,
    /// By partition, once known: the position of the first event that may be of this epoch, and the one behind its last.
    bounds: BTreeMap<i32, (i64, Option<i64>)>,
}

#[derive(Queryable)]
struct Row {
    number: i64,
    source: Id,
    direct: bool,
    cluster: Option<String>,
    closed_at: Option<Time>,
}

impl Epoch {
    /// What an offset on the bus is added to, to have a position.
    pub(super) fn base(&self) -> i64 {
        self.number << BITS
    }

    /// Positions from here on are of a later epoch.
    pub(super) fn limit(&self) -> i64 {
        (self.number + 1) << BITS
    }

    /// The position of the partition's first event that may be of this epoch.
    pub(super) fn begin(&self, partition: i32) -> i64 {
        self.bounds.get(&partition).map_or_else(|| self.base(), |(first, _)| *first)
    }

    /// The position behind the partition's last event, once that is known.
    pub(super) fn end(&self, partition: i32) -> Option<i64> {
        match self.bounds.get(&partition) {
            Some((_, next)) => *next,
            None => (!self.is_open()).then(|| self.base()), // it never took anything
        }
    }

    /// Whether nothing of it is behind `position`.
    pub(super) fn is_done(&self, partition: i32, position: i64) -> bool {
        self.end(partition).is_some_and(|end| end <= self.begin(partition).max(position + 1))
    }

    /// Whether every group has come to its end, which must be known, and be behind all that it took.
    pub(super) fn is_handled(&self, positions: &[(String, i32, i64)]) -> bool {
        // it never began, or was given up before anybody read it
        let took_nothing = self.direct && self.bounds.values().all(|(first, next)| *next == Some(*first));
        let is_done = || positions.iter().all(|(_, partition, position)| self.is_done(*partition, *position));
        took_nothing || (!positions.is_empty() && is_done())
    }

    /// What nobody has handled of it, if what it lies on is lost.
    pub(super) fn lost(&self, positions: &[(String, i32, i64)]) -> Lost {
        let unhandled = |(partition, (first, next)): (&i32, &(i64, Option<i64>))| {
            // the last record is none that was taken
            next.map(|next| (next - handled(positions, *partition).max(*first) - 1).max(0))
        };
        let events = self.bounds.iter().map(unhandled).sum();
        Lost { epoch: self.number, cluster: self.cluster.clone(), events }
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// It is not known yet where it begins.
    pub(super) fn lacks_begins(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Closed, and it is not known yet where it ends.
    pub(super) fn lacks_ends(&self) -> bool {
        !self.is_open() && self.bounds.values().any(|(_, next)| next.is_none())
    }
}

/// Where each way of a topic ends now: by partition the position that the log gives next, and the offsets that the bus
/// holds.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    pub(super) log: BTreeMap<i32, i64>,
    pub(super) bus: BTreeMap<i32, Range<i64>>,
}

impl Ends {
    /// The position behind the last event of an epoch.
    pub(crate) fn of(&self, epoch: &Epoch, partition: i32) -> i64 {
        let now = if epoch.lacks_begins() {
            epoch.base()
        } else if epoch.direct {
            self.bus.get(&partition).map_or(0, |held| epoch.base() + held.end)
        } else {
            self.log.get(&partition).copied().unwrap_or_default()
        };
        epoch.end(partition).unwrap_or(now).max(epoch.begin(partition))
    }
}

/// How many events are behind `position` in a partition, as far as they are kept.
pub(crate) fn waiting(epochs: &[Epoch], ends: &Ends, partition: i32, position: i64) -> i64 {
    let kept = |epoch: &Epoch| ends.bus.get(&partition).filter(|_| epoch.direct).map(|held| epoch.base() + held.start);
    let first = |epoch: &Epoch| epoch.begin(partition).max(position + 1).max(kept(epoch).unwrap_or(i64::MIN));
    let of = |epoch: &Epoch| (ends.of(epoch, partition) - first(epoch)).max(0);
    epochs.iter().map(of).sum()
}

/// All epochs of a topic, in their order; none before it was first [`settle`]d.
pub(crate) fn load(conn: &mut Conn, topic: &str) -> db::Result<Vec<Epoch>> {
    use topic_epoch as epoch;
    let rows: Vec<Row> = epoch::table
        .filter(epoch::topic.eq(topic))
        .order(epoch::number)
        .select((epoch::number, epoch::source, epoch::direct, epoch::cluster, epoch::closed_at))
        .load(conn)?;
    use topic_epoch_partition as part;
    let bounds: Vec<(i64, i32, i64, Option<i64>)> = part::table
        .filter(part::topic.eq(topic))
        .select((part::number, part::partition, part::first, part::next))
        .load(conn)?;
    let epoch = |Row { number, source, direct, cluster, closed_at }| {
        let bounds =
            bounds.iter().filter(|bound| bound.0 == number).map(|bound| (bound.1, (bound.2, bound.3))).collect();
        Epoch { number, source, direct, cluster, closed_at, bounds }
    };
    Ok(rows.into_iter().map(epoch).collect())
}

/// Has the topic's events go straight to the bus from now on, or through the log. Whatever went the other way is
/// handled first.
pub(super) fn settle(tx: &mut Tx<'_>, topic: &str, direct: bool) -> db::Result<()> {
    let partitions = store::lock_partitions(tx, topic)?;
    let epochs = load(tx, topic)?;
    let Some(last) = epochs.last() else {
        let is_new = partitions.iter().all(|partition| partition.next == 0);
        open(tx, topic, 0, direct && is_new, &partitions)?;
        return if direct && !is_new { settle(tx, topic, direct) } else { Ok(()) };
    };
    if last.is_open() && last.direct == direct {
        return Ok(());
    }
    close(tx, topic, last, &partitions)?;
    if !direct {
        // what the log holds already is of the epochs before, and what it numbers from now on is of this one
        for before in epochs.iter().filter(|epoch| !epoch.direct) {
            end(tx, topic, before, &partitions)?;
        }
    }
    open(tx, topic, last.number + 1, direct, &partitions)
}

fn open(tx: &mut Tx<'_>, topic: &str, number: i64, direct: bool, partitions: &[PartitionRow]) -> db::Result<()> {
    use topic_epoch as epoch;
    let source = Id(uuid::Uuid::new_v4());
    let row = (epoch::topic.eq(topic), epoch::number.eq(number), epoch::source.eq(source), epoch::direct.eq(direct));
    diesel::insert_into(epoch::table).values(row).execute(&mut **tx)?;
    // where it begins on the bus, the bus must say
    for partition in partitions.iter().filter(|_| !direct) {
        let first = number << BITS;
        set_begin(tx, topic, number, partition.partition, first)?;
        diesel::update(topic_partition::table.find((topic, partition.partition)))
            .set(topic_partition::next.eq(partition.next.max(first)))
            .execute(&mut **tx)?;
    }
    Ok(())
}

/// What is known already stays.
fn set_begin(conn: &mut Conn, topic: &str, number: i64, partition: i32, first: i64) -> db::Result<()> {
    use topic_epoch_partition as part;
    let row = (part::topic.eq(topic), part::number.eq(number), part::partition.eq(partition), part::first.eq(first));
    on_each!(conn, |conn| diesel::insert_into(part::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok(())
}

/// From now on nothing is taken for the topic, until it is [`settle`]d again.
pub(super) fn close_last(tx: &mut Tx<'_>, topic: &str) -> db::Result<()> {
    let partitions = store::lock_partitions(tx, topic)?;
    match load(tx, topic)?.last() {
        Some(last) => close(tx, topic, last, &partitions),
        None => Ok(()),
    }
}

fn close(tx: &mut Tx<'_>, topic: &str, epoch: &Epoch, partitions: &[PartitionRow]) -> db::Result<()> {
    use topic_epoch as table;
    if !epoch.is_open() {
        return Ok(());
    }
    let now = tx.now()?;
    diesel::update(table::table.find((topic, epoch.number))).set(table::closed_at.eq(now)).execute(&mut **tx)?;
    // SQLite means one process: nobody else can still be writing
    if tx.is_pg() || epoch.direct { Ok(()) } else { end(tx, topic, epoch, partitions) }
}

/// An epoch of the log ends where the log is.
fn end(tx: &mut Tx<'_>, topic: &str, epoch: &Epoch, partitions: &[PartitionRow]) -> db::Result<()> {
    partitions.iter().try_for_each(|row| set_end(tx, topic, epoch.number, row.partition, row.next))
}

/// What is known already stays.
fn set_end(conn: &mut Conn, topic: &str, number: i64, partition: i32, position: i64) -> db::Result<()> {
    use topic_epoch_partition as part;
    diesel::update(part::table.find((topic, number, partition)))
        .filter(part::next.is_null())
        .set(part::next.eq(position))
        .execute(conn)?;
    Ok(())
}

/// Writes down where a closed epoch of the log ends, in which nobody can still be writing.
pub(super) fn set_log_ends(tx: &mut Tx<'_>, topic: &str, number: i64) -> db::Result<()> {
    let partitions = store::lock_partitions(tx, topic)?;
    let epochs = load(tx, topic)?;
    let over = epochs.iter().find(|epoch| epoch.number == number && epoch.lacks_ends());
    over.map_or(Ok(()), |over| end(tx, topic, over, &partitions))
}

/// Writes down where a closed epoch of the bus ends: behind these offsets, which are those of its last records.
pub(super) fn set_bus_ends(tx: &mut Tx<'_>, topic: &str, epoch: &Epoch, last: &[(i32, i64)]) -> db::Result<()> {
    store::lock_partitions(tx, topic)?;
    last.iter()
        .try_for_each(|(partition, offset)| set_end(tx, topic, epoch.number, *partition, epoch.base() + offset + 1))
}

/// Whether an epoch waits for its ends: of the log, or of the bus.
pub(super) fn any_lacks_ends(epochs: &[Epoch], direct: bool) -> bool {
    epochs.iter().any(|epoch| epoch.direct == direct && epoch.lacks_ends())
}

/// The bus says for the first time where it is, and where the epoch begins: behind all that is there already. Nothing
/// happens to an epoch that was closed meanwhile.
pub(super) fn set_begins(
    tx: &mut Tx<'_>,
    topic: &str,
    number: i64,
    cluster: &str,
    held: &[Range<i64>],
) -> db::Result<()> {
    store::lock_partitions(tx, topic)?;
    let epochs = load(tx, topic)?;
    let Some(new) = epochs.last().filter(|last| last.number == number && last.is_open()) else { return Ok(()) };
    diesel::update(topic_epoch::table.find((topic, number)))
        .filter(topic_epoch::cluster.is_null())
        .set(topic_epoch::cluster.eq(cluster))
        .execute(&mut **tx)?;
    (0..).zip(held).try_for_each(|(partition, held)| set_begin(tx, topic, number, partition, new.base() + held.end))
}

/// What nobody has handled yet of an epoch on the bus is lost: it ends there, and if events are still taken for it,
/// another begins. Nothing happens to one that is handled.
pub(super) fn give_up(tx: &mut Tx<'_>, topic: &str, number: i64) -> db::Result<()> {
    use topic_epoch_partition as part;
    let partitions = store::lock_partitions(tx, topic)?;
    let (epochs, positions) = (load(tx, topic)?, positions(tx, topic)?);
    let given_up = epochs.iter().find(|epoch| epoch.number == number && epoch.direct);
    let Some(epoch) = given_up.filter(|epoch| !epoch.is_handled(&positions)) else { return Ok(()) };
    close(tx, topic, epoch, &partitions)?;
    for (partition, (first, next)) in &epoch.bounds {
        // that of the group that is furthest behind
        let end = handled(&positions, *partition).min(next.unwrap_or_else(|| epoch.limit())).max(*first);
        diesel::update(part::table.find((topic, number, *partition))).set(part::next.eq(end)).execute(&mut **tx)?;
    }
    if epoch.is_open() { open(tx, topic, number + 1, true, &partitions) } else { Ok(()) }
}

/// The position behind the last that all groups have handled.
fn handled(positions: &[(String, i32, i64)], partition: i32) -> i64 {
    let of_partition = positions.iter().filter(|(_, of, _)| *of == partition);
    of_partition.map(|(_, _, position)| position + 1).min().unwrap_or_default()
}

/// Group, partition and position of all who read the topic.
pub(super) fn positions(conn: &mut Conn, topic: &str) -> db::Result<Vec<(String, i32, i64)>> {
    use group_position as place;
    Ok(place::table
        .filter(place::topic.eq(topic))
        .filter(place::grp.ne(crate::RELAY))
        .select((place::grp, place::partition, place::position))
        .load(conn)?)
}

/// By partition the position that the log gives next.
pub(super) fn log_ends(conn: &mut Conn, topic: &str) -> db::Result<BTreeMap<i32, i64>> {
    Ok(store::partitions_of(conn, topic)?.into_iter().map(|row| (row.partition, row.next)).collect())
}
