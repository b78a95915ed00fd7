//! Members of the consumer group: reading from either bus, and handling in the unit that moves the offset.

use crate::database::{Event, Tables, Unit};
use crate::rule::Rule;
use crate::scenario::{Handler, Scenario};
use crate::state::{Bus, Handling, State, Step};

impl Scenario {
    pub(crate) fn fetch(&self, s: &mut State, member: usize, index: usize, server: usize) {
        let mut record = s.kafka[index];
        if !self.on(Rule::OnePosition) {
            let before = s.kafka[..index].iter().filter(|it| it.partition == record.partition);
            record.position = before.count() as u8;
        }
        let offset = s.servers[server].tables().offset(record.partition);
        if record.position == offset || record.position > offset && !self.on(Rule::NeverSkip) {
            self.start(s, member, record, server);
        }
    }

    /// Reads the next event from the log: in-process, or because Kafka lacks the event.
    pub(crate) fn read_log(&self, s: &mut State, member: usize, partition: u8, server: usize) {
        let tables = s.servers[server].tables();
        let end = match s.members[member].bus {
            Bus::InProcess => s.processes[member].ends[usize::from(partition)],
            Bus::Kafka if self.refused.is_some() && self.on(Rule::GapRepair) => tables.mark(partition),
            Bus::Kafka => 0,
        };
        let offset = tables.offset(partition);
        if let Some(record) = tables.kept_event(partition, offset).filter(|_| offset < end) {
            self.start(s, member, record, server);
        }
    }

    fn start(&self, s: &mut State, member: usize, record: Event, server: usize) {
        let tables = s.servers[server].tables();
        let has_lease = s.members[member].lease.is_some() || !self.on(Rule::LeaseToHandle);
        if self.handler == Handler::Transactional || has_lease {
            s.members[member].handling = Some(Handling {
                record,
                expected: tables.offset(record.partition),
                was_owned: tables.owns(record),
                was_behind_barrier: self.is_behind_barrier(&tables, record),
                was_blocked: tables.is_blocked(record.key),
                step: Step::Read,
            });
        }
    }

    fn is_behind_barrier(&self, tables: &Tables, record: Event) -> bool {
        let (new, old) = (self.on(Rule::BarrierOfNewPartition), self.on(Rule::BarrierOfOldPartition));
        tables.is_behind_barrier(record, new, old)
    }

    /// Returns true if the group may handle the record, as the connection of the handling unit knows.
    pub(crate) fn may_handle(&self, s: &mut State, server: usize, handling: &Handling) -> bool {
        let (record, tables) = (handling.record, s.servers[server].tables());
        let is_beyond = record.epoch == tables.newest_epoch().id && record.position >= tables.end(record.partition);
        if is_beyond && self.on(Rule::RecordBeyondEndOpensEpoch) {
            self.open_epoch(s, server);
            return false;
        }
        let is_owned = if self.on(Rule::OwnershipInUnit) { tables.owns(record) } else { handling.was_owned };
        let barrier = self.is_behind_barrier(&tables, record);
        let is_behind = if self.on(Rule::BarrierInUnit) { barrier } else { handling.was_behind_barrier };
        let is_expected = tables.offset(record.partition) == handling.expected;
        (is_owned || !self.on(Rule::DropOrphans)) && !is_behind && (is_expected || !self.on(Rule::ConditionalOffset))
    }

    pub(crate) fn handle(&self, s: &mut State, member: usize, server: usize) {
        let Some(handling) = s.members[member].handling.take() else { return };
        let record = handling.record;
        self.connect(s, server);
        if handling.step == Step::Buried {
            if s.servers[server].tables().offset(record.partition) == handling.expected {
                let (partition, next) = (record.partition, record.position + 1);
                s.servers[server].wal.push(Unit::Offset { partition, next });
            }
            return;
        }
        if !self.may_handle(s, server, &handling) {
            return;
        }
        let is_blocked_now = s.servers[server].tables().is_blocked(record.key);
        let is_blocked = if self.on(Rule::ParkingInUnit) { is_blocked_now } else { handling.was_blocked };
        let unit = if is_blocked && self.on(Rule::ParkBehindDeadLetter) {
            Unit::Parked(record)
        } else if self.failing == Some(record.id) && !s.is_repaired {
            let with_offset = self.on(Rule::DeadLetterWithOffset);
            if !with_offset {
                s.members[member].handling = Some(Handling { step: Step::Buried, ..handling });
            }
            Unit::DeadLetter { event: record, with_offset }
        } else {
            Unit::Handled(record)
        };
        s.servers[server].wal.push(unit);
    }
}
