//! Events that the relay set aside: Kafka refused them, or they wait behind one of their key that it refused. Groups read
//! these events from the log, and the gap on the bus is no alarm.

use db::{Conn, on_each};
use diesel::prelude::*;

use crate::event::Event;
use crate::schema::set_aside;

/// Notes that the bus lacks the event.
pub(crate) fn note(conn: &mut Conn, event: &Event) -> db::Result<()> {
    let row = (
        set_aside::topic.eq(&*event.topic),
        set_aside::partition.eq(event.partition),
        set_aside::position.eq(event.position),
    );
    on_each!(conn, |conn| diesel::insert_into(set_aside::table).values(row).on_conflict_do_nothing().execute(conn))?;
    Ok(())
}

/// Number of events directly behind position `after` that were set aside one after the other; at most `max`.
pub(crate) fn run(conn: &mut Conn, topic: &str, partition: i32, after: i64, max: usize) -> db::Result<usize> {
    let positions: Vec<i64> = set_aside::table
        .filter(set_aside::topic.eq(topic))
        .filter(set_aside::partition.eq(partition))
        .filter(set_aside::position.gt(after))
        .order(set_aside::position)
        .limit(i64::try_from(max).unwrap_or(i64::MAX))
        .select(set_aside::position)
        .load(conn)?;
    Ok(positions.into_iter().zip(after + 1..).take_while(|(position, due)| position == due).count())
}

/// Forgets positions below `floor`, which the log does not hold any more.
pub(crate) fn forget(conn: &mut Conn, topic: &str, partition: i32, floor: i64) -> db::Result<()> {
    let of_partition = set_aside::topic.eq(topic).and(set_aside::partition.eq(partition));
    diesel::delete(set_aside::table.filter(of_partition).filter(set_aside::position.lt(floor))).execute(conn)?;
    Ok(())
}
