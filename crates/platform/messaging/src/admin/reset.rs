//! Resets of consumer groups.

use db::types::Time;
use db::{Conn, Tx};
use diesel::prelude::*;

use crate::consumer::dead_letters;
use crate::consumer::group::{Group, Replay};
use crate::consumer::offsets;
use crate::log::rows;
use crate::schema::{event_log, group_position};

/// New starting point of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// First kept event.
    Earliest,
    /// Behind the last event.
    Latest,
    /// This position, in each partition, within the kept positions.
    Position(i64),
    /// At the first event appended at this time or later.
    Timestamp(Time),
}

/// Refusal of a reset.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// No group of this name is known.
    #[error("there is no consumer group of this name")]
    NoSuchGroup,
    /// The group does not read this topic.
    #[error("the group does not read this topic")]
    NoSuchTopic,
    /// An external topic that this process has not seen on the bus yet.
    #[error("the topic is not there, or was not seen yet")]
    NotSeen,
    /// An external topic: the log has no times of the events.
    #[error("a topic of others is reset to the earliest or the latest event, or to a position")]
    NoTimestamp,
    /// The group must not repeat, for this reason.
    #[error("{0}")]
    MustNotRepeat(&'static str),
    /// A projection is built from all topics of the group, so a single position is ambiguous.
    #[error("a group that is rebuilt from several topics is reset to a time, the earliest or the latest event")]
    SeveralTopics,
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Sets the group back or forward, while the members run. The projection of a rebuildable group is cleared in the
/// same transaction, and all topics of the group begin again, because the projection comes from all topics.
///
/// # Errors
/// As [`ResetError`] says.
pub fn reset(tx: &mut Tx<'_>, groups: &[Group], name: &str, topic: &str, to: ResetTo) -> Result<(), ResetError> {
    let group = groups.iter().find(|group| group.name == name).ok_or(ResetError::NoSuchGroup)?;
    if !group.topics.contains(&topic) {
        return Err(ResetError::NoSuchTopic);
    }
    let mut topics = match group.replay {
        Replay::Once(why) => return Err(ResetError::MustNotRepeat(why)),
        Replay::Resendable => vec![topic],
        Replay::Rebuildable(_) if matches!(to, ResetTo::Position(_)) && group.topics.len() > 1 => {
            return Err(ResetError::SeveralTopics);
        }
        Replay::Rebuildable(_) => group.topics.clone(),
    };
    topics.sort_unstable();
    offsets::lock(tx, name, &topics)?;
    let source = rows::source_of(tx)?;
    for topic in &topics {
        for partition in rows::lock_partitions(tx, topic)? {
            let begin = begin_at(tx, &partition, to)?;
            diesel::update(group_position::table)
                .filter(group_position::grp.eq(name))
                .filter(group_position::topic.eq(topic))
                .filter(group_position::partition.eq(partition.partition))
                .filter(group_position::source.eq(source))
                .set(group_position::position.eq(begin - 1))
                .execute(&mut **tx)
                .map_err(db::Error::from)?;
        }
        dead_letters::clear(tx, name, topic)?;
    }
    if let Replay::Rebuildable(clear) = group.replay {
        clear(tx)?;
    }
    Ok(())
}

/// Returns the position to begin at, within the kept positions.
fn begin_at(conn: &mut Conn, partition: &rows::PartitionRow, to: ResetTo) -> db::Result<i64> {
    Ok(match to {
        ResetTo::Earliest => partition.floor,
        ResetTo::Latest => partition.next,
        ResetTo::Position(position) => position.clamp(partition.floor, partition.next),
        ResetTo::Timestamp(time) => event_log::table
            .filter(event_log::topic.eq(&partition.topic))
            .filter(event_log::partition.eq(partition.partition))
            .filter(event_log::appended_at.ge(time))
            .order(event_log::position)
            .select(event_log::position)
            .first(conn)
            .optional()?
            .unwrap_or(partition.next),
    })
}
