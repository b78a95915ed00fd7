//! Effects outside the database, and the leases of their members.

use crate::database::Unit;
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::state::{Check, Effect, Handling, State, Step};

impl Scenario {
    pub(crate) fn take_lease(&self, s: &mut State, member: usize, server: usize) {
        self.connect(s, server);
        let number = match s.servers[server].tables().lease {
            Some((_, number)) if number > s.lapsed => return, // somebody holds the lease
            Some((_, number)) => number + 1,
            None => s.lapsed + 1,
        };
        s.servers[server].wal.push(Unit::Lease { member: member as u8, number });
        s.members[member].lease = Some(number);
    }

    /// Reads epoch, offset and lease, then flushes.
    pub(crate) fn check(&self, s: &mut State, member: usize, server: usize) {
        let Some(handling) = s.members[member].handling.take() else { return };
        self.connect(s, server);
        let lease = s.members[member].lease;
        let holds = s.servers[server].tables().lease.is_some_and(|(holder, number)| {
            usize::from(holder) == member && lease == Some(number) && number > s.lapsed
        });
        if !holds && self.on(Rule::LeaseBeforeEffect) && self.on(Rule::LeaseToHandle) {
            s.members[member].lease = None;
            return;
        }
        if self.on(Rule::OwnershipBeforeEffect) && !self.may_handle(s, server, &handling) {
            return;
        }
        let (seen, life) = (s.servers[server].tables().ids(), s.servers[server].life);
        if self.on(Rule::FlushBeforeEffect) {
            s.servers[server].flush();
        }
        let check = Check { server, life, seen };
        s.members[member].handling = Some(Handling { step: Step::Checked(check), ..handling });
        if !self.on(Rule::OffsetAfterEffect) {
            self.store_offset(s, &handling, server);
        }
    }

    pub(crate) fn act(&self, s: &mut State, member: usize) {
        let Some(handling) = s.members[member].handling else { return };
        let Step::Checked(check) = handling.step else { return };
        let server = &s.servers[check.server];
        let is_lost_since = !server.alive || server.life != check.life;
        let is_known = is_lost_since || server.tables().has(handling.record);
        s.effects.push(Effect { event: handling.record, is_known });
        s.told |= check.seen;
        s.members[member].handling =
            self.on(Rule::OffsetAfterEffect).then_some(Handling { step: Step::Acted, ..handling });
    }

    pub(crate) fn move_offset(&self, s: &mut State, member: usize, server: usize) {
        let Some(handling) = s.members[member].handling.take() else { return };
        self.connect(s, server);
        self.store_offset(s, &handling, server);
    }

    fn store_offset(&self, s: &mut State, handling: &Handling, server: usize) {
        let tables = s.servers[server].tables();
        let record = handling.record;
        if tables.offset(record.partition) == handling.expected && tables.owns(record) {
            let (partition, next) = (record.partition, record.position + 1);
            s.servers[server].wal.push(Unit::Offset { partition, next });
        }
    }
}
