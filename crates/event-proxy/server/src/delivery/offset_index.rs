//! Offset index, for receipts: a row for each run of positions with consecutive offsets.

use db::{Conn, Tx, on_each};
use diesel::prelude::*;

use crate::schema::delivered_span as span;

/// Positions `first` to `last` of a partition, at the offsets `position + shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub first: i64,
    pub last: i64,
    pub shift: i64,
}

impl Span {
    /// Returns the runs of ascending `(position, offset)` pairs.
    pub(crate) fn all(places: impl IntoIterator<Item = (i64, i64)>) -> Vec<Self> {
        let mut spans = Vec::new();
        for (position, offset) in places {
            Self { first: position, last: position, shift: offset - position }.behind(&mut spans);
        }
        spans
    }

    /// Appends the span to earlier spans.
    pub(crate) fn behind(self, spans: &mut Vec<Self>) {
        match spans.last_mut() {
            Some(span) if span.last + 1 == self.first && span.shift == self.shift => span.last = self.last,
            _ => spans.push(self),
        }
    }
}

/// Records the offsets of a run, joined to the run before if possible.
///
/// # Errors
/// Any error of the database.
pub(crate) fn note(tx: &mut Tx<'_>, topic: &str, partition: i32, run: Span) -> db::Result<()> {
    let longer = diesel::update(span::table.find((topic, partition, run.first - 1)))
        .filter(span::shift.eq(run.shift))
        .set(span::last.eq(run.last));
    if on_each!(&mut **tx, |conn| longer.execute(conn))? > 0 {
        return Ok(());
    }
    let row = (
        span::topic.eq(topic),
        span::partition.eq(partition),
        span::first.eq(run.first),
        span::last.eq(run.last),
        span::shift.eq(run.shift),
    );
    // a batch that was sent twice is where it came to last
    let insert = diesel::insert_into(span::table).values(row).on_conflict((span::topic, span::partition, span::last));
    let insert = insert.do_update().set((span::first.eq(run.first), span::shift.eq(run.shift)));
    on_each!(&mut **tx, |conn| insert.execute(conn))?;
    Ok(())
}

/// Returns the offset of the event at a position, if on Kafka.
///
/// # Errors
/// Any error of the database.
pub(crate) fn offset(conn: &mut Conn, topic: &str, partition: i32, position: i64) -> db::Result<Option<i64>> {
    let run: Option<(i64, i64)> = span::table
        .filter(span::topic.eq(topic))
        .filter(span::partition.eq(partition))
        .filter(span::last.ge(position))
        .order(span::last)
        .select((span::first, span::shift))
        .first(conn)
        .optional()?;
    Ok(run.filter(|(first, _)| *first <= position).map(|(_, shift)| position + shift))
}

/// Deletes runs before the log start.
///
/// # Errors
/// Any error of the database.
pub(crate) fn cut(tx: &mut Tx<'_>) -> db::Result<()> {
    let old = "DELETE FROM delivered_span WHERE last < (SELECT floor FROM topic_partition AS place \
               WHERE place.topic = delivered_span.topic AND place.partition = delivered_span.partition)";
    diesel::sql_query(old).execute(&mut **tx)?;
    Ok(())
}
