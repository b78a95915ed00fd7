//! One PostgreSQL server: a write-ahead log of committed units, and the tables that the log stands for.

/// Most partitions of the topic.
pub(crate) const PARTITIONS: usize = 3;

/// Set of events, a bit for each id.
pub(crate) type Ids = u8;

/// An event of the log, and a record of the event on Kafka.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: u8,
    pub(crate) key: u8,
    pub(crate) partition: u8,
    pub(crate) position: u8,
    pub(crate) epoch: u8,
}

impl Event {
    pub(crate) fn bit(self) -> Ids {
        1 << self.id
    }
}

/// A committed unit.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Unit {
    Epoch { id: u8, life: u8 },
    Partitions { number: u8, with_epoch: bool },
    Event(Event),
    Mark { partition: u8, next: u8 },
    SetAside(Event),
    Lease { member: u8, number: u8 },
    Handled(Event),
    DeadLetter { event: Event, with_offset: bool },
    Parked(Event),
    Offset { partition: u8, next: u8 },
    Replayed { id: u8 },
    Purge { start: u8, keeps_end: bool },
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) wal: Vec<Unit>,
    /// Number of units that survive a crash.
    pub(crate) flushed: usize,
    pub(crate) life: u8,
    pub(crate) alive: bool,
}

impl Server {
    pub(crate) fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        self.wal.iter().for_each(|unit| tables.apply(*unit));
        tables
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.wal.len();
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    pub(crate) id: u8,
    pub(crate) life: u8,
    /// First position of each partition; `None` for a partition that the epoch never had.
    first: [Option<u8>; PARTITIONS],
}

#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) partitions: u8,
    pub(crate) epochs: Vec<Epoch>,
    /// All events of the log, purged ones included.
    pub(crate) events: Vec<Event>,
    pub(crate) ends: [u8; PARTITIONS],
    /// First kept position of the first partition.
    pub(crate) log_start: u8,
    /// Ends of the old partitions, for each repartitioning.
    barriers: Vec<(u8, [u8; PARTITIONS])>,
    pub(crate) marks: [u8; PARTITIONS],
    pub(crate) set_aside: Vec<Event>,
    /// Member and number of the newest lease.
    pub(crate) lease: Option<(u8, u8)>,
    pub(crate) offsets: [u8; PARTITIONS],
    /// Ids of handled events in the order of handling.
    pub(crate) handled: Vec<u8>,
    /// Dead letters and parked events in the order of their units.
    pub(crate) letters: Vec<Event>,
}

impl Tables {
    fn apply(&mut self, unit: Unit) {
        match unit {
            Unit::Epoch { id, life } => {
                let mut first = [None; PARTITIONS];
                let there = first.iter_mut().zip(self.ends).take(usize::from(self.partitions));
                there.for_each(|(first, end)| *first = Some(end));
                self.epochs.push(Epoch { id, life, first });
            }
            Unit::Partitions { number, with_epoch } => self.repartition(number, with_epoch),
            Unit::Event(event) => {
                self.events.push(event);
                self.ends[usize::from(event.partition)] = event.position + 1;
            }
            Unit::Mark { partition, next } => self.marks[usize::from(partition)] = next,
            Unit::SetAside(event) => self.set_aside.push(event),
            Unit::Lease { member, number } => self.lease = Some((member, number)),
            Unit::Handled(event) => {
                self.handled.push(event.id);
                self.move_offset(event);
            }
            Unit::DeadLetter { event, with_offset } => {
                self.letters.push(event);
                if with_offset {
                    self.move_offset(event);
                }
            }
            Unit::Parked(event) => {
                self.letters.push(event);
                self.move_offset(event);
            }
            Unit::Offset { partition, next } => self.offsets[usize::from(partition)] = next,
            Unit::Replayed { id } => {
                self.handled.push(id);
                self.letters.retain(|letter| letter.id != id);
            }
            Unit::Purge { start, keeps_end } => {
                self.log_start = start;
                if !keeps_end {
                    self.ends[0] = 0;
                }
            }
        }
    }

    fn repartition(&mut self, number: u8, with_epoch: bool) {
        let old = std::mem::replace(&mut self.partitions, number);
        if old > 0 {
            self.barriers.push((old, self.ends));
        }
        if let (true, Some(newest)) = (with_epoch, self.epochs.last_mut()) {
            newest.first[usize::from(old)..usize::from(number)].fill(Some(0));
        }
    }

    fn move_offset(&mut self, event: Event) {
        self.offsets[usize::from(event.partition)] = event.position + 1;
    }

    pub(crate) fn end(&self, partition: u8) -> u8 {
        self.ends[usize::from(partition)]
    }

    pub(crate) fn offset(&self, partition: u8) -> u8 {
        self.offsets[usize::from(partition)]
    }

    pub(crate) fn mark(&self, partition: u8) -> u8 {
        self.marks[usize::from(partition)]
    }

    fn event(&self, partition: u8, position: u8) -> Option<Event> {
        self.events.iter().find(|it| (it.partition, it.position) == (partition, position)).copied()
    }

    /// Returns the event if the log still holds the event.
    pub(crate) fn kept_event(&self, partition: u8, position: u8) -> Option<Event> {
        self.event(partition, position).filter(|_| partition > 0 || position >= self.log_start)
    }

    pub(crate) fn has(&self, event: Event) -> bool {
        self.event(event.partition, event.position) == Some(event)
    }

    pub(crate) fn newest_epoch(&self) -> Epoch {
        *self.epochs.last().expect("every log begins with an epoch")
    }

    /// Returns true if the record's epoch owns the record's position.
    pub(crate) fn owns(&self, record: Event) -> bool {
        let partition = usize::from(record.partition);
        let is_below = |epoch: &&Epoch| epoch.first[partition].is_some_and(|first| first <= record.position);
        // a partition that no epoch has counts as one of the first epoch: `Rule::NewPartitionHasEpoch` is off
        let owner = self.epochs.iter().rev().find(is_below).or(self.epochs.first());
        record.partition < self.partitions && owner.is_some_and(|owner| owner.id == record.epoch)
    }

    /// Returns true if a repartitioning keeps the group from the record: the record is in a partition that the
    /// repartitioning added (`new`) or behind a barrier (`old`), and the group has not passed all barriers.
    pub(crate) fn is_behind_barrier(&self, record: Event, new: bool, old: bool) -> bool {
        self.barriers.iter().any(|(number, ends)| {
            let passed = (0..usize::from(*number)).all(|partition| self.offsets[partition] >= ends[partition]);
            let is_new = record.partition >= *number;
            let is_behind = !is_new && record.position >= ends[usize::from(record.partition)];
            !passed && (new && is_new || old && is_behind)
        })
    }

    /// Returns true if the key has a dead letter or a parked event.
    pub(crate) fn is_blocked(&self, key: u8) -> bool {
        self.letters.iter().any(|letter| letter.key == key)
    }

    pub(crate) fn ids(&self) -> Ids {
        self.events.iter().fold(0, |ids, event| ids | event.bit())
    }
}
