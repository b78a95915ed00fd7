//! Topics in the control database.

use std::time::Duration;

use db::types::Time;
use db::{Conn, Tx, on_each};
use diesel::prelude::*;

use crate::schema::topic;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(crate) struct TopicRow {
    pub name: String,
    pub partitions: i32,
    /// The brokers' unless given.
    pub replication: Option<i32>,
    /// Retention in milliseconds; by default the brokers' retention.
    retention: Option<i64>,
    pub created_at: Time,
    /// Time of the creation on Kafka; the proxy creates a topic there only once without a request.
    pub made_at: Option<Time>,
    pub deleted_at: Option<Time>,
}

impl TopicRow {
    /// Returns the retention of records on Kafka; `None` means the brokers' retention.
    pub(crate) fn retention(&self) -> Option<Duration> {
        self.retention.map(|millis| Duration::from_millis(millis.max(0) as u64))
    }
}

/// A topic to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    pub name: String,
    pub partitions: i32,
    pub replication: Option<i32>,
    /// Retention in milliseconds.
    pub retention: Option<i64>,
}

/// # Errors
/// Any error of the database.
pub(crate) fn all(conn: &mut Conn) -> db::Result<Vec<TopicRow>> {
    Ok(topic::table.load(conn)?)
}

/// Inserts a topic; keeps an existing topic.
///
/// # Errors
/// Any error of the database.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &NewTopic) -> db::Result<()> {
    let row = (
        topic::name.eq(&new.name),
        topic::partitions.eq(new.partitions),
        topic::created_at.eq(tx.now()?),
        topic::replication.eq(new.replication),
        topic::retention.eq(new.retention),
    );
    on_each!(&mut **tx, |conn| diesel::insert_into(topic::table)
        .values(row)
        .on_conflict(topic::name)
        .do_nothing()
        .execute(conn))?;
    Ok(())
}

/// Inserts a topic, or lets an existing topic be created on Kafka again; the topic keeps its partitions.
///
/// # Errors
/// Any error of the database.
pub(crate) fn renew(tx: &mut Tx<'_>, new: &NewTopic) -> db::Result<()> {
    insert(tx, new)?;
    let again = (
        topic::replication.eq(new.replication),
        topic::retention.eq(new.retention),
        topic::made_at.eq(None::<Time>),
        topic::deleted_at.eq(None::<Time>),
    );
    diesel::update(topic::table.find(&new.name)).set(again).execute(&mut **tx)?;
    Ok(())
}

/// # Errors
/// Any error of the database.
pub(crate) fn set_made(tx: &mut Tx<'_>, name: &str) -> db::Result<()> {
    let now = tx.now()?;
    diesel::update(topic::table.find(name)).set(topic::made_at.eq(Some(now))).execute(&mut **tx)?;
    Ok(())
}

/// # Errors
/// Any error of the database.
pub(crate) fn set_deleted(tx: &mut Tx<'_>, name: &str) -> db::Result<()> {
    let now = tx.now()?;
    diesel::update(topic::table.find(name)).set(topic::deleted_at.eq(Some(now))).execute(&mut **tx)?;
    Ok(())
}
