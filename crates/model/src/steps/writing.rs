//! Units, their flushes, and the end offsets that processes learn.

use crate::database::{Event, PARTITIONS, Unit};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::state::{Connection, Poll, Progress, State};

impl Scenario {
    /// Opens the connection of a unit. `server` may be the standby, whose tables are those of the primary.
    pub(crate) fn open(&self, s: &mut State, unit: usize, server: usize) {
        let is_standby = server == s.servers.len();
        if !is_standby {
            self.connect(s, server);
        }
        let (readable, life) = if is_standby { (server - 1, s.standby_life) } else { (server, s.servers[server].life) };
        let tables = s.servers[readable].tables();
        let (epoch, partitions) = (tables.newest_epoch().id, tables.partitions);
        s.units[unit] = Progress::Connected(Connection { server, life, epoch, partitions });
    }

    /// Numbers the unit's event and commits, both in the unit's last statements.
    pub(crate) fn commit(&self, s: &mut State, unit: usize, server: usize) {
        if s.units[unit] == Progress::Idle {
            self.open(s, unit, server);
        }
        let Progress::Connected(connection) = s.units[unit] else { return };
        s.units[unit] = Progress::Idle;
        let tables = s.servers[server].tables();
        let is_broken = s.servers[server].life != connection.life;
        let is_moved = self.on(Rule::PartitionsOfLockedRow) && tables.partitions != connection.partitions;
        let is_old = self.on(Rule::EpochOfLockedRow) && tables.newest_epoch().id != connection.epoch;
        if is_broken || is_moved || is_old {
            return; // the unit runs again
        }
        let key = self.keys[unit];
        let partition = key % connection.partitions;
        let position = tables.end(partition);
        let event = Event { id: unit as u8, key, partition, position, epoch: connection.epoch };
        s.is_blind |= s.is_restored;
        s.servers[server].wal.push(Unit::Event(event));
        s.units[unit] = Progress::Committed { event, life: connection.life };
        if !self.on(Rule::AnswerAfterFlush) {
            s.told |= event.bit();
        }
        if !self.on(Rule::EndAfterFlush) {
            self.raise(s, 0, event);
        }
    }

    pub(crate) fn flush(&self, s: &mut State, unit: usize, server: usize) {
        let Progress::Committed { event, life } = s.units[unit] else { return };
        s.units[unit] = Progress::Done;
        s.servers[server].flush();
        if self.on(Rule::FlushOfSameLife) && s.servers[server].life != life {
            return; // the outcome is unknown
        }
        s.told |= event.bit();
        self.raise(s, 0, event); // units run in the first process
    }

    /// Answers with the outcome of a unit that another request has run.
    pub(crate) fn repeat_answer(&self, s: &mut State, unit: usize, server: usize) {
        let has_committed = s.servers[server].tables().events.iter().any(|event| usize::from(event.id) == unit);
        if has_committed {
            if self.on(Rule::RepeatAfterFlush) {
                s.servers[server].flush();
            }
            s.told |= 1 << unit;
        }
    }

    fn raise(&self, s: &mut State, process: usize, event: Event) {
        let mut ends = [0; PARTITIONS];
        ends[usize::from(event.partition)] = event.position + 1;
        self.raise_all(s, process, event.epoch, ends);
    }

    fn raise_all(&self, s: &mut State, process: usize, epoch: u8, ends: [u8; PARTITIONS]) {
        let Some(memory) = s.processes.get_mut(process) else { return };
        if memory.epoch == epoch || !self.on(Rule::EndsCarryEpoch) {
            memory.ends.iter_mut().zip(ends).for_each(|(known, end)| *known = end.max(*known));
        }
    }

    /// A process reads from a connection: a process that meets another epoch forgets the memory of the last one.
    pub(crate) fn meet(&self, s: &mut State, process: usize, server: usize) {
        self.connect(s, server);
        let tables = s.servers[server].tables();
        let memory = &mut s.processes[process];
        if memory.epoch != tables.newest_epoch().id {
            memory.epoch = tables.newest_epoch().id;
            memory.ends = [0; PARTITIONS];
            if self.on(Rule::RelayResumes) {
                memory.next = tables.marks;
            }
        }
    }

    pub(crate) fn poll_ends(&self, s: &mut State, process: usize, server: usize) {
        self.meet(s, process, server);
        if !self.on(Rule::EndReadBeforeFlush) {
            s.servers[server].flush();
        }
        let tables = s.servers[server].tables();
        let memory = &mut s.processes[process];
        if (0..PARTITIONS).any(|it| tables.ends[it] > memory.ends[it]) {
            memory.poll = Some(Poll { ends: tables.ends, epoch: tables.newest_epoch().id });
        }
    }

    pub(crate) fn flush_polled(&self, s: &mut State, process: usize, server: usize) {
        let Some(poll) = s.processes[process].poll.take() else { return };
        self.meet(s, process, server);
        let tables = s.servers[server].tables();
        let ends = if self.on(Rule::EndReadBeforeFlush) { poll.ends } else { tables.ends };
        if self.on(Rule::FlushBeforePolledEnd) && self.on(Rule::EndReadBeforeFlush) {
            s.servers[server].flush();
        }
        if tables.newest_epoch().id == poll.epoch || !self.on(Rule::EndsCarryEpoch) {
            self.raise_all(s, process, poll.epoch, ends);
        }
    }
}
