//! The relay: from the log to Kafka, behind the mark.

use crate::database::{Event, Unit};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::state::{Process, State};

impl Scenario {
    /// Returns true if an earlier record of the key was set aside.
    pub(crate) fn waits(&self, s: &State, server: usize, event: Event) -> bool {
        let tables = s.servers[server].tables();
        let is_earlier = |it: &Event| it.key == event.key && it.position < event.position;
        self.on(Rule::SetAsideKeyWaits) && tables.set_aside.iter().any(is_earlier)
    }

    pub(crate) fn relay_read(&self, s: &mut State, relay: usize, partition: u8, server: usize) {
        self.meet(s, relay, server);
        let tables = s.servers[server].tables();
        let memory = &mut s.processes[relay];
        let next = memory.next[usize::from(partition)];
        if next < memory.ends[usize::from(partition)] {
            memory.sending = tables.kept_event(partition, next).map(|event| (event, memory.epoch));
        }
    }

    /// Sends the record, which Kafka acknowledges.
    pub(crate) fn relay_send(&self, s: &mut State, relay: usize) {
        let Some((mut event, epoch)) = s.processes[relay].sending else { return };
        let primary = s.servers.len() - 1;
        if self.refused == Some(event.id) || self.waits(s, primary, event) {
            return;
        }
        if !self.on(Rule::EpochOfRow) {
            event.epoch = s.servers[primary].tables().newest_epoch().id;
        }
        s.kafka.push(event);
        self.go_on(s, relay, event, epoch);
    }

    pub(crate) fn relay_set_aside(&self, s: &mut State, relay: usize, server: usize) {
        let Some((event, epoch)) = s.processes[relay].sending else { return };
        self.connect(s, server);
        let tables = s.servers[server].tables();
        let is_stored = tables.set_aside.contains(&event);
        if tables.newest_epoch().id == epoch && self.on(Rule::SetAsideIsStored) && !is_stored {
            s.servers[server].wal.push(Unit::SetAside(event));
            if self.on(Rule::SetAsideIsFlushed) {
                s.servers[server].flush();
            }
        }
        self.go_on(s, relay, event, epoch);
    }

    fn go_on(&self, s: &mut State, relay: usize, event: Event, epoch: u8) {
        let memory = &mut s.processes[relay];
        memory.sending = None;
        if memory.epoch == epoch || !self.on(Rule::LateAcknowledgements) {
            memory.next[usize::from(event.partition)] = event.position + 1;
        }
    }

    pub(crate) fn relay_mark(&self, s: &mut State, relay: usize, partition: u8, server: usize) {
        self.connect(s, server);
        let (tables, memory) = (s.servers[server].tables(), &s.processes[relay]);
        if self.on(Rule::MarkOfSameEpoch) && memory.epoch != tables.newest_epoch().id {
            return;
        }
        let is_sending = memory.sending.is_some_and(|(event, _)| event.partition == partition);
        let unacknowledged = if self.on(Rule::MarkIsAcknowledged) { 0 } else { u8::from(is_sending) };
        let next = memory.next[usize::from(partition)] + unacknowledged;
        if next > tables.mark(partition) {
            s.servers[server].wal.push(Unit::Mark { partition, next });
        }
    }

    pub(crate) fn relay_restart(&self, s: &mut State, relay: usize, server: usize) {
        self.connect(s, server);
        s.processes[relay] = Process::new(&s.servers[server].tables());
    }
}
