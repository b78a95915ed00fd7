macro_rules! rules {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// Rules of docs/protocol.md that the model can switch off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[doc = $text])+ $name,)+
        }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

rules! {
    /// A unit is answered after its flush.
    AnswerAfterFlush,
    /// A repeated answer, and every other answer that rests on another unit, waits for a flush of its own.
    RepeatAfterFlush,
    /// A flush confirms only units of the same log life.
    FlushOfSameLife,
    /// A unit raises the end offset after its flush.
    EndAfterFlush,
    /// A process that polls an end offset flushes before using the end.
    FlushBeforePolledEnd,
    /// The end offset is read before the flush and not after the flush.
    EndReadBeforeFlush,
    /// An end offset applies only to the epoch in which the end was read.
    EndsCarryEpoch,
    /// The numbering of events compares the topic's number of partitions with the number used for the key.
    PartitionsOfLockedRow,
    /// The numbering of events compares the partition's epoch with the epoch of the connection.
    EpochOfLockedRow,

    /// The first connection of a log life opens an epoch.
    LogLifeOpensEpoch,
    /// A server in recovery is unavailable.
    RecoveryIsUnavailable,
    /// Ids of epochs are unique, also after a failover has lost an epoch.
    UniqueEpochs,
    /// A new partition gets a first position of the newest epoch; older epochs own nothing there.
    NewPartitionHasEpoch,
    /// A record takes the epoch from the event's row and not from the moment of sending.
    EpochOfRow,
    /// A group drops orphans.
    DropOrphans,
    /// The connection of the handling unit decides about ownership, and not the process that read the record.
    OwnershipInUnit,
    /// A record of the newest epoch at or above the end opens an epoch.
    RecordBeyondEndOpensEpoch,
    /// A relay that meets another epoch resumes behind the mark.
    RelayResumes,
    /// A mark is stored only under the epoch of the relay's memory.
    MarkOfSameEpoch,
    /// Acknowledgements of records that were read under another epoch do not move the relay.
    LateAcknowledgements,

    /// The mark is the end of the acknowledged prefix.
    MarkIsAcknowledged,
    /// A refused record is stored as set aside before the relay goes on.
    SetAsideIsStored,
    /// A record that was set aside is flushed before the relay goes on.
    SetAsideIsFlushed,
    /// Later records of a key wait behind a record that was set aside (a setting).
    SetAsideKeyWaits,

    /// The committed offset moves only from the expected value.
    ConditionalOffset,
    /// A position is the log's position on either bus.
    OnePosition,
    /// A record ahead of the committed offset is not handled.
    NeverSkip,
    /// Events that the bus lacks are read from the log.
    GapRepair,
    /// A group handles no event of a new partition before all barriers of the topic.
    BarrierOfNewPartition,
    /// A group handles no event behind the barrier of an old partition before all barriers of the topic.
    BarrierOfOldPartition,
    /// The handling unit checks the barriers, and not the process that read the record.
    BarrierInUnit,
    /// A member handles a partition only while holding the lease.
    LeaseToHandle,
    /// A member checks the lease immediately before an effect.
    LeaseBeforeEffect,
    /// A member checks epoch and offset immediately before an effect.
    OwnershipBeforeEffect,
    /// An effect waits for a flush begun after the reads that the effect rests on.
    FlushBeforeEffect,
    /// The offset moves after the effect.
    OffsetAfterEffect,
    /// Purge stops at the committed offset of the slowest group.
    PurgeStopsAtOffset,
    /// Purge stops at the mark for topics on Kafka.
    PurgeStopsAtMark,
    /// Purge keeps the last event of each partition, which holds the end.
    PurgeKeepsLast,
    /// A dead letter and its offset move are one transaction.
    DeadLetterWithOffset,
    /// Later events of a key are parked behind the key's dead letter.
    ParkBehindDeadLetter,
    /// The handling unit decides about parking, and not the process that read the record.
    ParkingInUnit,
    /// Replay deletes the row first; without a row nothing happens.
    ReplayDeletesRow,
    /// The replaying unit takes only the oldest row of the key.
    ReplayInOrder,
}
