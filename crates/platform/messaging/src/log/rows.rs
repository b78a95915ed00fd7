//! Queries of the log, a function each.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use db::types::{Id, JsonText, Time};
use db::{Conn, Database, Prepare, on_each};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::consumer::offsets::{self, Place};
use crate::event::Event;
use crate::log::epochs;
use crate::log::{Log, TopicSpec};
use crate::relay::RELAY;
use crate::schema::{event_log, log_epoch, log_source, topic_partition};

/// Maximum bytes of a batch.
const BATCH_BYTES: usize = 8 << 20;
/// First number of events read at once, before their sizes are known.
const FIRST_PIECE: usize = 250;

/// Progress of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(crate) struct PartitionRow {
    pub topic: String,
    pub partition: i32,
    /// Position of the next event.
    pub next: i64,
    /// End of the events that Kafka had acknowledged when the relay last left the topic, -1 for none.
    pub relayed: i64,
    /// Log start: the first kept position.
    pub floor: i64,
}

/// Returns the SQL for the sum of payload sizes, in bytes.
pub(crate) fn payload_bytes() -> SqlLiteral<BigInt> {
    sql("coalesce(sum(octet_length(CAST(payload AS TEXT))), 0)")
}

/// Returns the size of all payloads in the log, in bytes. Reads the whole log.
///
/// # Errors
/// Any error of the database.
pub fn log_bytes(conn: &mut Conn) -> db::Result<i64> {
    Ok(event_log::table.select(payload_bytes()).first(conn)?)
}

/// Inserts a topic; keeps an existing topic.
pub(crate) fn insert_topic(conn: &mut Conn, spec: &TopicSpec) -> db::Result<()> {
    let there: i64 = topic_partition::table.filter(topic_partition::topic.eq(&*spec.name)).count().get_result(conn)?;
    if there > 0 {
        return Ok(());
    }
    insert_partitions(conn, &spec.name, 0..spec.partitions)
}

pub(crate) fn insert_partitions(conn: &mut Conn, topic: &str, partitions: Range<i32>) -> db::Result<()> {
    let epoch = epochs::for_new_partition(conn)?;
    for partition in partitions {
        let (of_topic, number) = (topic_partition::topic.eq(topic), topic_partition::partition.eq(partition));
        let row = (of_topic, number, topic_partition::epoch.eq(epoch.id));
        on_each!(conn, |conn| diesel::insert_into(topic_partition::table)
            .values(row)
            .on_conflict_do_nothing()
            .execute(conn))?;
        epochs::begin(conn, topic, partition, &epoch)?;
    }
    if let Conn::Pg(conn) = conn {
        diesel::sql_query(
            "UPDATE topic_partition SET partitions = all_of.count \
             FROM (SELECT count(*) FROM topic_partition WHERE topic = $1) all_of WHERE topic = $1",
        )
        .bind::<Text, _>(topic)
        .execute(conn)?;
    }
    Ok(())
}

/// Lets one process at a time create the log's UUID and topics: two concurrent starts must not create two.
pub(crate) fn lock_source(conn: &mut Conn) -> db::Result<()> {
    if let Conn::Pg(conn) = conn {
        conn.batch_execute("LOCK TABLE log_source IN SHARE ROW EXCLUSIVE MODE")?;
    }
    Ok(())
}

/// Returns the log's UUID, created at the first call.
pub(crate) fn source(conn: &mut Conn) -> db::Result<Id> {
    if let Some(source) = log_source::table.select(log_source::id).first(conn).optional()? {
        return Ok(source);
    }
    // random, not by time: nothing orders sources
    let source = Id(uuid::Uuid::new_v4());
    diesel::insert_into(log_source::table).values(log_source::id.eq(source)).execute(conn)?;
    Ok(source)
}

/// Returns all partitions, by topic and partition.
pub(crate) fn partitions(conn: &mut Conn) -> db::Result<Vec<PartitionRow>> {
    let all = topic_partition::table.order((topic_partition::topic, topic_partition::partition));
    Ok(all.select(partition_row(conn)).load(conn)?)
}

/// Returns the partitions of a topic, in order.
pub(crate) fn partitions_of(conn: &mut Conn, topic: &str) -> db::Result<Vec<PartitionRow>> {
    let of_topic = topic_partition::table.filter(topic_partition::topic.eq(topic));
    Ok(of_topic.order(topic_partition::partition).select(partition_row(conn)).load(conn)?)
}

/// End of a partition, computed like `append_events`.
const LOG_END: &str = "greatest(next, floor, (SELECT max(position) + 1 FROM event_log \
                       WHERE topic = topic_partition.topic AND partition = topic_partition.partition))";

type PartitionColumns = (
    topic_partition::topic,
    topic_partition::partition,
    SqlLiteral<BigInt>,
    topic_partition::relayed,
    topic_partition::floor,
);

/// Columns of a [`PartitionRow`]. SQLite counts; on PostgreSQL the end is where the events end.
fn partition_row(conn: &Conn) -> PartitionColumns {
    use topic_partition as part;
    (part::topic, part::partition, sql(end_column(conn)), part::relayed, part::floor)
}

/// Returns SQL for the end of a partition.
pub(crate) fn end_column(conn: &Conn) -> &'static str {
    if conn.is_pg() { LOG_END } else { "next" }
}

/// Locks a topic against numbering, purge, reset, registration and more partitions until the unit ends.
pub(crate) fn lock_topic(conn: &mut Conn, topic: &str) -> db::Result<()> {
    // SQLite's writer is alone
    if let Conn::Pg(conn) = conn {
        let of_topic = topic_partition::table.filter(topic_partition::topic.eq(topic));
        let in_order = of_topic.order(topic_partition::partition).select(topic_partition::partition);
        in_order.for_update().load::<i32>(conn)?;
    }
    Ok(())
}

/// Returns the partitions of a topic, [locked](lock_topic). Reads by a separate statement, because the statement that
/// waits for the lock does not see partitions added meanwhile.
pub(crate) fn lock_partitions(conn: &mut Conn, topic: &str) -> db::Result<Vec<PartitionRow>> {
    lock_topic(conn, topic)?;
    partitions_of(conn, topic)
}

/// Takes `count` positions; the first is the result less `count`.
pub(crate) fn advance_end(conn: &mut Conn, topic: &str, partition: i32, count: i64) -> db::Result<i64> {
    let update = diesel::update(topic_partition::table.find((topic, partition)))
        .set(topic_partition::next.eq(topic_partition::next + count))
        .returning(topic_partition::next)
        .prepared();
    Ok(on_each!(conn, |conn| update.get_result(conn))?)
}

pub(crate) fn set_floor(conn: &mut Conn, topic: &str, partition: i32, floor: i64) -> db::Result<()> {
    diesel::update(topic_partition::table.find((topic, partition)))
        .set(topic_partition::floor.eq(floor))
        .execute(conn)?;
    Ok(())
}

/// Raises the relay's mark; the mark never falls.
pub(crate) fn raise_relayed(conn: &mut Conn, topic: &str, partition: i32, relayed: i64) -> db::Result<()> {
    diesel::update(topic_partition::table.find((topic, partition)))
        .filter(topic_partition::relayed.lt(relayed))
        .set(topic_partition::relayed.eq(relayed))
        .execute(conn)?;
    Ok(())
}

/// Returns the end of the events acknowledged by the bus, -1 for none: the relay's position, or the mark that the
/// relay left.
pub(crate) fn relayed(conn: &mut Conn, topic: &Arc<str>, partition: i32, source: Id) -> db::Result<i64> {
    let relay = Place { group: RELAY, topic: topic.clone(), partition, source };
    let position = offsets::position(conn, &relay)?.unwrap_or(-1);
    let mark = topic_partition::table.find((&**topic, partition)).select(topic_partition::relayed);
    Ok(position.max(mark.first(conn)?))
}

#[allow(clippy::too_many_arguments, reason = "an argument for each column")]
mod function {
    use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text};

    diesel::define_sql_function! {
        fn append_events(
            topics: Array<Text>,
            partitions: Array<Integer>,
            counts: Array<Integer>,
            ids: Array<db::types::Uuid>,
            keys: Array<Text>,
            kinds: Array<Text>,
            versions: Array<SmallInt>,
            aggregate_versions: Array<BigInt>,
            occurred: Array<db::types::UtcTime>,
            traceparents: Array<Nullable<Text>>,
            payloads: Array<Text>,
            of_epoch: db::types::Uuid,
        ) -> Array<BigInt>;
    }
}

/// Appends events to the log. `counts` is the number of partitions by which the partition of each event was chosen, `epoch`
/// the newest epoch. Returns the positions, and the file of the table of epochs behind the locks.
pub(crate) fn append_events(
    conn: &mut PgConnection,
    events: &[Event],
    counts: &[i32],
    epoch: Id,
) -> db::Result<(Vec<i64>, i64)> {
    fn all<'e, T>(events: &'e [Event], of: impl Fn(&'e Event) -> T) -> Vec<T> {
        events.iter().map(of).collect()
    }
    let append = function::append_events(
        all(events, |event| &*event.topic),
        all(events, |event| event.partition),
        counts,
        all(events, |event| event.id),
        all(events, |event| &*event.key),
        all(events, |event| &*event.kind),
        all(events, |event| event.version),
        all(events, |event| event.aggregate_version),
        all(events, |event| event.occurred_at),
        all(events, |event| event.traceparent.as_deref()),
        all(events, |event| &*event.payload),
        epoch,
    );
    let file = sql::<BigInt>(epochs::FILE);
    Ok(diesel::select((append, file)).get_result(conn)?)
}

/// Returns true if the event has this position.
pub(crate) fn is_there(conn: &mut Conn, topic: &str, partition: i32, position: i64, id: Id) -> db::Result<bool> {
    let found = event_log::table.find((topic, partition, position)).select(event_log::id).first(conn).optional()?;
    Ok(found == Some(id))
}

/// SQLite's; `epoch` is the ordinal of the event's epoch.
pub(crate) fn insert_event(conn: &mut Conn, event: &Event, epoch: i64, appended_at: Time) -> db::Result<()> {
    let row = (
        event_log::topic.eq(&*event.topic),
        event_log::partition.eq(event.partition),
        event_log::position.eq(event.position),
        event_log::id.eq(event.id),
        event_log::key.eq(&event.key),
        event_log::kind.eq(&event.kind),
        event_log::version.eq(event.version),
        event_log::aggregate_version.eq(event.aggregate_version),
        event_log::occurred_at.eq(event.occurred_at),
        event_log::appended_at.eq(appended_at),
        event_log::traceparent.eq(&event.traceparent),
        event_log::payload.eq(JsonText(event.payload.clone())),
        event_log::epoch.eq(epoch),
    );
    // the concrete connection keeps the prepared statement without building the text again
    on_each!(conn, |conn| diesel::insert_into(event_log::table).values(row).execute(conn))?;
    Ok(())
}

/// A row of the log, with the id of the row's epoch.
#[derive(Debug, Queryable)]
pub(crate) struct LogRow {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) position: i64,
    pub(crate) id: Id,
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) version: i16,
    pub(crate) aggregate_version: i64,
    pub(crate) occurred_at: Time,
    pub(crate) appended_at: Time,
    pub(crate) traceparent: Option<String>,
    pub(crate) payload: JsonText,
    pub(crate) epoch: Id,
}

/// Columns of a [`LogRow`]. The id of the epoch comes from the snapshot of the row.
#[diesel::dsl::auto_type]
pub(crate) fn log_row() -> _ {
    let epoch: SqlLiteral<db::types::Uuid> = epoch_id();
    (
        event_log::topic,
        event_log::partition,
        event_log::position,
        event_log::id,
        event_log::key,
        event_log::kind,
        event_log::version,
        event_log::aggregate_version,
        event_log::occurred_at,
        event_log::appended_at,
        event_log::traceparent,
        event_log::payload,
        epoch,
    )
}

fn epoch_id() -> SqlLiteral<db::types::Uuid> {
    sql("(SELECT log_epoch.id FROM log_epoch WHERE log_epoch.ordinal = event_log.epoch)")
}

impl LogRow {
    pub(crate) fn into_event(self, source: Id, topic: Arc<str>) -> Event {
        Event {
            id: self.id,
            source,
            epoch: self.epoch,
            topic,
            partition: self.partition,
            position: self.position,
            key: self.key,
            kind: self.kind,
            version: self.version,
            aggregate_version: self.aggregate_version,
            occurred_at: self.occurred_at,
            traceparent: self.traceparent,
            payload: self.payload.0,
        }
    }
}

/// Returns at most `max` events behind `after`, in order, out of the database.
pub(crate) async fn read_events(
    db: &Database,
    log: &Log,
    topic: &str,
    partition: i32,
    after: i64,
    max: usize,
) -> db::Result<Vec<Event>> {
    let (topic, source): (Arc<str>, Id) = (topic.into(), log.source());
    db.read(move |conn| {
        use event_log as row;
        // a look-up for each row would take longer
        let epochs: HashMap<i64, Id> =
            log_epoch::table.select((log_epoch::ordinal, log_epoch::id)).load(conn)?.into_iter().collect();
        let rows: Vec<BatchRow> = event_log::table
            .filter(row::topic.eq(&*topic))
            .filter(row::partition.eq(partition))
            .filter(row::position.gt(after))
            .order(row::position)
            .limit(max as i64)
            .select((
                row::position,
                row::id,
                row::key,
                row::kind,
                row::version,
                row::aggregate_version,
                row::occurred_at,
                row::traceparent,
                row::payload,
                row::epoch,
            ))
            .load(conn)?;
        let event = |row: BatchRow| {
            let epoch = epochs.get(&row.epoch).copied();
            let epoch = epoch.ok_or_else(|| db::Error::Defect(format!("the log has no epoch {}", row.epoch)))?;
            Ok(Event {
                id: row.id,
                source,
                epoch,
                topic: topic.clone(),
                partition,
                position: row.position,
                key: row.key,
                kind: row.kind,
                version: row.version,
                aggregate_version: row.aggregate_version,
                occurred_at: row.occurred_at,
                traceparent: row.traceparent,
                payload: row.payload.0,
            })
        };
        rows.into_iter().map(event).collect()
    })
    .await
}

/// A row of one partition, with the ordinal of the row's epoch.
#[derive(Queryable)]
struct BatchRow {
    position: i64,
    id: Id,
    key: String,
    kind: String,
    version: i16,
    aggregate_version: i64,
    occurred_at: Time,
    traceparent: Option<String>,
    payload: JsonText,
    epoch: i64,
}

/// Reads like [`read_events`], up to a number of payload bytes: events may be large.
pub(crate) async fn read_batch(
    db: &Database,
    log: &Log,
    topic: &str,
    partition: i32,
    after: i64,
    max: usize,
) -> db::Result<Vec<Event>> {
    let (mut batch, mut bytes, mut last) = (Vec::new(), 0, after);
    while batch.len() < max && bytes < BATCH_BYTES {
        // events are about as large as those before them
        let room = (BATCH_BYTES - bytes) * batch.len().max(1) / bytes.max(1);
        let piece = if batch.is_empty() { FIRST_PIECE } else { room.max(1) }.min(max - batch.len());
        let events = read_events(db, log, topic, partition, last, piece).await?;
        let is_end = events.len() < piece;
        bytes += events.iter().map(|event| event.payload.len()).sum::<usize>();
        last = events.last().map_or(last, |event| event.position);
        batch.extend(events);
        if is_end {
            break;
        }
    }
    Ok(batch)
}

/// Returns the log's UUID, in a snapshot that cannot create a UUID.
pub(crate) fn source_of(conn: &mut Conn) -> db::Result<Id> {
    Ok(log_source::table.select(log_source::id).first(conn)?)
}
