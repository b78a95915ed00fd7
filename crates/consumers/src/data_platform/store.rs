//! Committed length of each exported file.

use db::{Conn, Prepare, Result, on_each};
use diesel::prelude::*;

diesel::table! {
    export_file (topic, partition, lease, sequence) {
        topic -> Text,
        partition -> Integer,
        lease -> BigInt,
        sequence -> Integer,
        name -> Text,
        length -> BigInt,
    }
}

/// Key of a file of one partition and lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileId {
    pub topic: String,
    pub partition: i32,
    pub lease: i64,
    /// Counts the files of the lease, from 0.
    pub sequence: i32,
}

/// A file of a partition, from any holder.
#[derive(Debug, Clone, Queryable)]
pub(super) struct Written {
    pub lease: i64,
    pub sequence: i32,
    pub name: String,
    /// Committed length in bytes.
    pub length: i64,
}

/// Inserts the row of a new file with length 0. Returns `false` if the file number already has committed bytes.
pub(super) fn begin(conn: &mut Conn, file: &FileId, name: &str) -> Result<bool> {
    let row = (
        export_file::topic.eq(&file.topic),
        export_file::partition.eq(file.partition),
        export_file::lease.eq(file.lease),
        export_file::sequence.eq(file.sequence),
        export_file::name.eq(name),
        export_file::length.eq(0),
    );
    let insert = diesel::insert_into(export_file::table).values(row).on_conflict_do_nothing();
    if on_each!(conn, |c| insert.execute(c))? == 1 {
        return Ok(true);
    }
    // an attempt that did not get as far as making it
    let key = (file.topic.as_str(), file.partition, file.lease, file.sequence);
    let empty = export_file::table.find(key).filter(export_file::length.eq(0));
    Ok(diesel::update(empty).set(export_file::name.eq(name)).execute(conn)? == 1)
}

/// Sets the committed length of a file. Returns `false` for an unknown file.
pub(super) fn commit(conn: &mut Conn, file: &FileId, length: i64) -> Result<bool> {
    let key = (file.topic.as_str(), file.partition, file.lease, file.sequence);
    let update = diesel::update(export_file::table.find(key))
        .set(export_file::length.eq(length))
        .returning(export_file::length)
        .prepared();
    let committed: Option<i64> = on_each!(conn, |c| update.get_result(c).optional())?;
    Ok(committed.is_some())
}

/// Returns the committed length of a file in bytes; `None` for an unknown file.
pub(super) fn committed(conn: &mut Conn, file: &FileId) -> Result<Option<i64>> {
    let key = (file.topic.as_str(), file.partition, file.lease, file.sequence);
    Ok(export_file::table.find(key).select(export_file::length).first(conn).optional()?)
}

/// Returns all files of a partition.
pub(super) fn of_partition(conn: &mut Conn, topic: &str, partition: i32) -> Result<Vec<Written>> {
    Ok(export_file::table
        .filter(export_file::topic.eq(topic).and(export_file::partition.eq(partition)))
        .order((export_file::lease, export_file::sequence))
        .select((export_file::lease, export_file::sequence, export_file::name, export_file::length))
        .load(conn)?)
}

/// Deletes the row of a file without committed bytes.
pub(super) fn forget_empty(conn: &mut Conn, file: &FileId) -> Result<()> {
    let key = (file.topic.as_str(), file.partition, file.lease, file.sequence);
    diesel::delete(export_file::table.find(key).filter(export_file::length.eq(0))).execute(conn)?;
    Ok(())
}
