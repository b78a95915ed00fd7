//! Faults of servers and members, and what operators change.

use crate::database::{Server, Unit};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::state::{Bus, Process, Progress, State};

impl Scenario {
    /// The server loses unflushed units and starts again.
    pub(crate) fn crash(&self, s: &mut State, server: usize) {
        s.left.crashes -= 1;
        let life = s.new_life();
        let server = &mut s.servers[server];
        server.wal.truncate(server.flushed);
        server.life = life;
    }

    /// A replica with the first `kept` units is promoted. With `split` the old primary goes on.
    pub(crate) fn fail_over(&self, s: &mut State, kept: usize, split: bool) {
        let old = s.servers.len() - 1;
        let wal = s.servers[old].wal[..kept].to_vec();
        s.servers.push(Server { flushed: kept, wal, life: s.standby_life, alive: true });
        s.standby_life = s.new_life();
        if split {
            s.left.splits -= 1;
        } else {
            s.left.failovers -= 1;
            s.servers[old].alive = false;
            s.servers[old].wal.clear();
            s.servers[old].flushed = 0;
            drop_connections(s, old);
        }
    }

    /// An operator ends all processes, puts the tables back into the same log life, and starts the processes.
    pub(crate) fn restore(&self, s: &mut State, kept: usize) {
        s.left.restores -= 1;
        let primary = s.servers.len() - 1;
        s.servers[primary].wal.truncate(kept);
        s.servers[primary].flush();
        s.is_restored = true;
        drop_connections(s, primary);
        let process = Process::new(&s.servers[primary].tables());
        s.processes.fill(process);
        s.members.iter_mut().for_each(|member| (member.handling, member.lease) = (None, None));
    }

    pub(crate) fn repartition(&self, s: &mut State, server: usize) {
        self.connect(s, server);
        let number = self.repartitioned;
        if s.servers[server].tables().partitions < number {
            s.left.repartitionings -= 1;
            let with_epoch = self.on(Rule::NewPartitionHasEpoch);
            s.servers[server].wal.push(Unit::Partitions { number, with_epoch });
        }
    }

    /// Deletes the events below the offset and the mark.
    pub(crate) fn purge(&self, s: &mut State, server: usize) {
        self.connect(s, server);
        let tables = s.servers[server].tables();
        let limit = |rule, limit| if self.on(rule) { limit } else { u8::MAX };
        let offset = limit(Rule::PurgeStopsAtOffset, tables.offset(0));
        let mark = limit(Rule::PurgeStopsAtMark, tables.mark(0));
        let last = limit(Rule::PurgeKeepsLast, tables.end(0).saturating_sub(1));
        let start = offset.min(mark).min(last).min(tables.end(0));
        if start > tables.log_start {
            s.left.purges -= 1;
            s.servers[server].wal.push(Unit::Purge { start, keeps_end: start < tables.end(0) });
        }
    }

    /// A member starts again on the other bus.
    pub(crate) fn change_bus(&self, s: &mut State, member: usize) {
        s.left.bus_changes -= 1;
        let state = &mut s.members[member];
        state.handling = None;
        state.bus = if state.bus == Bus::Kafka { Bus::InProcess } else { Bus::Kafka };
    }

    /// The holder of the newest lease is frozen for longer than the lease.
    pub(crate) fn expire(&self, s: &mut State) {
        let primary = s.servers.len() - 1;
        if let Some((_, number)) = s.servers[primary].tables().lease.filter(|(_, number)| *number > s.lapsed) {
            s.left.expiries -= 1;
            s.lapsed = number;
        }
    }
}

/// Units lose their connections: a unit before COMMIT runs again, the outcome of a unit before the flush is unknown.
fn drop_connections(s: &mut State, server: usize) {
    for unit in &mut s.units {
        match unit {
            Progress::Connected(connection) if connection.server == server => *unit = Progress::Idle,
            Progress::Committed { .. } => *unit = Progress::Done,
            _ => {}
        }
    }
}
