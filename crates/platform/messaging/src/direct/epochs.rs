//! The epochs of a direct topic: from when to when its events went which way, and where each of them ends.

use std::collections::BTreeMap;
use std::time::Duration;

use db::types::{Id, Time};
use db::{Conn, Tx, on_each};
use diesel::dsl::{exists, select};
use diesel::prelude::*;

use crate::schema::{group_position, outbox, topic_epoch, topic_epoch_end, topic_partition};
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
    /// By partition: the position of the first event that may be of this epoch.
    begins: BTreeMap<i32, i64>,
    /// By partition, once known: the position behind its last event.
    ends: BTreeMap<i32, i64>,
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

    /// The position of the partition's first event that may be of this epoch.
    pub(super) fn begin(&self, partition: i32) -> i64 {
        self.begins.get(&partition).copied().unwrap_or_else(|| self.base())
    }

    /// The position behind the partition's last event, once that is known.
    pub(super) fn end(&self, partition: i32) -> Option<i64> {
        self.ends.get(&partition).copied()
    }

    /// Whether nothing of it is behind `position`.
    pub(super) fn is_done(&self, partition: i32, position: i64) -> bool {
        self.end(partition).is_some_and(|end| end <= self.begin(partition).max(position + 1))
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Closed, and where it ends is not known in all partitions.
    fn lacks_ends(&self, partitions: i32) -> bool {
        !self.is_open() && (self.ends.len() as i32) < partitions
    }
}

/// Where each way of a topic ends now: by partition the position that the log gives next, and the offset that the bus
/// gives next.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    pub(super) log: BTreeMap<i32, i64>,
    pub(super) bus: BTreeMap<i32, i64>,
}

impl Ends {
    /// The position behind the last event of an epoch.
    pub(crate) fn of(&self, epoch: &Epoch, partition: i32) -> i64 {
        let now = if epoch.direct {
            self.bus.get(&partition).map_or(0, |offset| epoch.base() + offset)
        } else {
            self.log.get(&partition).copied().unwrap_or_default()
        };
        epoch.end(partition).unwrap_or(now).max(epoch.begin(partition))
    }
}

/// How many events are behind `position` in a partition.
pub(crate) fn waiting(epochs: &[Epoch], ends: &Ends, partition: i32, position: i64) -> i64 {
    let of = |epoch: &Epoch| (ends.of(epoch, partition) - epoch.begin(partition).max(position + 1)).max(0);
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
    let ends: Vec<(i64, i32, i64)> = topic_epoch_end::table
        .filter(topic_epoch_end::topic.eq(topic))
        .select((topic_epoch_end::number, topic_epoch_end::partition, topic_epoch_end::position))
        .load(conn)?;
    let mut epochs: Vec<Epoch> = Vec::with_capacity(rows.len());
    for Row { number, source, direct, cluster, closed_at } in rows {
        let ends = ends.iter().filter(|end| end.0 == number).map(|end| (end.1, end.2)).collect();
        // on the same bus it begins where the last one there ended
        let before = epochs.iter().rev().find(|before| direct && before.direct);
        let before = before.filter(|before| before.cluster == cluster || cluster.is_none());
        let begins = before.map(|before| {
            let moved = |(partition, end): (&i32, &i64)| (*partition, end - before.base() + (number << BITS));
            before.ends.iter().map(moved).collect()
        });
        let begins = begins.unwrap_or_default();
        epochs.push(Epoch { number, source, direct, cluster, closed_at, begins, ends });
    }
    Ok(epochs)
}

/// Has the topic's events go straight to the bus from now on, or through the log. Whatever went the other way is
/// handled first.
pub(super) fn settle(tx: &mut Tx<'_>, topic: &str, direct: bool) -> db::Result<()> {
    let partitions = store::lock_partitions(tx, topic)?;
    let epochs = load(tx, topic)?;
    let Some(last) = epochs.last() else {
        let is_new = partitions.iter().all(|partition| partition.next == 0) && !is_in_outbox(tx, topic)?;
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
    for partition in partitions.iter().filter(|_| !direct) {
        diesel::update(topic_partition::table.find((topic, partition.partition)))
            .set(topic_partition::next.eq(partition.next.max(number << BITS)))
            .execute(&mut **tx)?;
    }
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
    use topic_epoch_end as table;
    let row = (
        table::topic.eq(topic),
        table::number.eq(number),
        table::partition.eq(partition),
        table::position.eq(position),
    );
    on_each!(conn, |conn| diesel::insert_into(table::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok(())
}

/// Writes down where closed epochs end, once nobody can still be writing: `grace` after they were closed. `bus` is
/// where the bus ends, if that was asked after `asked`.
pub(super) fn set_ends(tx: &mut Tx<'_>, topic: &str, grace: Duration, bus: Option<(Time, &Ends)>) -> db::Result<()> {
    let partitions = store::lock_partitions(tx, topic)?;
    let over = |epoch: &Epoch, at: Time| epoch.closed_at.is_some_and(|closed| closed + grace < at);
    let now = tx.now()?;
    for epoch in load(tx, topic)?.iter().filter(|epoch| epoch.lacks_ends(partitions.len() as i32)) {
        match bus {
            Some((asked, ends)) if epoch.direct && over(epoch, asked) => {
                for (partition, offset) in &ends.bus {
                    set_end(tx, topic, epoch.number, *partition, epoch.base() + offset)?;
                }
            }
            None if !epoch.direct && over(epoch, now) && !is_in_outbox(tx, topic)? => {
                end(tx, topic, epoch, &partitions)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether an epoch waits for its ends: of the log, or of the bus.
pub(super) fn any_lacks_ends(epochs: &[Epoch], partitions: i32, direct: bool) -> bool {
    epochs.iter().any(|epoch| epoch.direct == direct && epoch.lacks_ends(partitions))
}

/// The bus says for the first time where it is.
pub(super) fn set_cluster(tx: &mut Tx<'_>, topic: &str, number: i64, cluster: &str) -> db::Result<()> {
    use topic_epoch as table;
    diesel::update(table::table.find((topic, number)))
        .filter(table::cluster.is_null())
        .set(table::cluster.eq(cluster))
        .execute(&mut **tx)?;
    Ok(())
}

/// The topic was deleted on the bus, with whatever nobody had handled yet: another epoch begins.
pub(super) fn give_up(tx: &mut Tx<'_>, topic: &str, number: i64) -> db::Result<()> {
    let partitions = store::lock_partitions(tx, topic)?;
    let epochs = load(tx, topic)?;
    let Some(last) = epochs.last().filter(|last| last.number == number && last.is_open()) else { return Ok(()) };
    close(tx, topic, last, &partitions)?;
    for row in &partitions {
        let handled = positions(tx, topic)?.into_iter().filter(|(_, partition, _)| *partition == row.partition);
        let handled = handled.map(|(_, _, position)| position + 1).min().unwrap_or_default();
        set_end(tx, topic, number, row.partition, handled.max(last.begin(row.partition)))?;
    }
    open(tx, topic, number + 1, true, &partitions)?;
    // not what was there before under the same name
    use topic_epoch as table;
    diesel::update(table::table.find((topic, number))).set(table::cluster.eq("deleted")).execute(&mut **tx)?;
    diesel::update(table::table.find((topic, number + 1)))
        .set(table::cluster.eq(&last.cluster))
        .execute(&mut **tx)?;
    Ok(())
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
    let of_topic = topic_partition::table.filter(topic_partition::topic.eq(topic));
    let rows: Vec<(i32, i64)> = of_topic.select((topic_partition::partition, topic_partition::next)).load(conn)?;
    Ok(rows.into_iter().collect())
}

/// SQLite has no outbox, for its writer numbers at once.
fn is_in_outbox(conn: &mut Conn, topic: &str) -> db::Result<bool> {
    let Conn::Pg(conn) = conn else { return Ok(false) };
    Ok(select(exists(outbox::table.filter(outbox::topic.eq(topic)))).get_result(conn)?)
}
