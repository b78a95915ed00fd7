//! The protocol as a model: possible steps of a state, their dispatch, and the limits of the search.

use stateright::{Model, Property};

use crate::database::{Event, Ids, PARTITIONS, Server, Unit};
use crate::properties;
use crate::rule::Rule;
use crate::scenario::{Handler, Scenario};
use crate::state::{Bus, Faults, Handling, Member, Process, Progress, State, Step};

/// Step of one participant. `server` is the server of the step's connection.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Action {
    Connect { unit: usize, server: usize },
    Commit { unit: usize, server: usize },
    Flush { unit: usize, server: usize },
    RepeatAnswer { unit: usize, server: usize },
    PollEnds { process: usize, server: usize },
    FlushPolled { process: usize, server: usize },
    RelayRead { relay: usize, partition: u8, server: usize },
    RelaySend { relay: usize },
    RelaySetAside { relay: usize, server: usize },
    RelayMark { relay: usize, partition: u8, server: usize },
    RelayRestart { relay: usize, server: usize },
    Fetch { member: usize, index: usize, server: usize },
    ReadLog { member: usize, partition: u8, server: usize },
    Handle { member: usize, server: usize },
    TakeLease { member: usize, server: usize },
    Check { member: usize, server: usize },
    Act { member: usize },
    MoveOffset { member: usize, server: usize },
    ChooseLetter { replay: usize, index: usize, server: usize },
    Replay { replay: usize, server: usize },
    Repair,
    Repartition { server: usize },
    Purge { server: usize },
    ChangeBus { member: usize },
    Expire,
    Crash { server: usize },
    Failover { kept: usize },
    Split { kept: usize },
    Restore { kept: usize },
}

impl Scenario {
    pub(crate) fn on(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    pub(crate) fn has_in_process(&self) -> bool {
        self.bus == Bus::InProcess || self.faults.bus_changes > 0
    }

    /// Returns true if any process reads the marks.
    pub(crate) fn has_marks(&self) -> bool {
        let Faults { crashes, failovers, splits, restores, .. } = self.faults;
        self.relays > 0
            && (self.relay_restarts || self.refused.is_some() || crashes + failovers + splits + restores > 0)
    }

    /// Opens a connection: the first one of a log life opens an epoch.
    pub(crate) fn connect(&self, s: &mut State, server: usize) {
        let newest = s.servers[server].tables().newest_epoch();
        if self.on(Rule::LogLifeOpensEpoch) && newest.life != s.servers[server].life {
            self.open_epoch(s, server);
        }
    }

    pub(crate) fn open_epoch(&self, s: &mut State, server: usize) {
        s.epochs += 1;
        s.is_restored = false;
        let known = s.servers[server].tables().epochs.len() as u8;
        let id = if self.on(Rule::UniqueEpochs) { s.epochs } else { known };
        let life = s.servers[server].life;
        s.servers[server].wal.push(Unit::Epoch { id, life });
    }

    /// Returns true if an earlier unit of the same key has not begun. Units of a key differ only in their ids.
    fn is_later(&self, s: &State, unit: usize) -> bool {
        (0..unit).any(|it| self.keys[it] == self.keys[unit] && s.units[it] == Progress::Idle)
    }

    fn unit_actions(&self, s: &State, server: usize, actions: &mut Vec<Action>) {
        for (unit, progress) in s.units.iter().enumerate() {
            match progress {
                Progress::Idle if self.is_later(s, unit) => {}
                Progress::Idle if self.connections => actions.push(Action::Connect { unit, server }),
                Progress::Idle => actions.push(Action::Commit { unit, server }),
                Progress::Connected(connection) if connection.server == server => {
                    actions.push(Action::Commit { unit, server });
                }
                Progress::Committed { .. } => actions.push(Action::Flush { unit, server }),
                Progress::Connected(_) | Progress::Done => {}
            }
            if self.repeats {
                actions.push(Action::RepeatAnswer { unit, server });
            }
        }
    }

    fn process_actions(&self, s: &State, server: usize, actions: &mut Vec<Action>) {
        for (process, memory) in s.processes.iter().enumerate() {
            let is_in_process = s.members.get(process).is_some_and(|member| member.bus == Bus::InProcess);
            if process < self.relays || is_in_process {
                actions.push(match memory.poll {
                    None => Action::PollEnds { process, server },
                    Some(_) => Action::FlushPolled { process, server },
                });
            }
        }
        for (relay, memory) in s.processes.iter().enumerate().take(self.relays) {
            match memory.sending {
                Some((event, _)) if self.refused == Some(event.id) || self.waits(s, server, event) => {
                    actions.push(Action::RelaySetAside { relay, server });
                }
                Some(_) => {}
                None => {
                    let ready = (0..PARTITIONS).filter(|it| memory.next[*it] < memory.ends[*it]);
                    actions.extend(ready.map(|it| Action::RelayRead { relay, partition: it as u8, server }));
                }
            }
            let partitions = 0..if self.has_marks() { s.servers[server].tables().partitions } else { 0 };
            actions.extend(partitions.map(|partition| Action::RelayMark { relay, partition, server }));
            if self.relay_restarts {
                actions.push(Action::RelayRestart { relay, server });
            }
        }
    }

    fn member_actions(&self, s: &State, server: usize, actions: &mut Vec<Action>) {
        let tables = s.servers[server].tables();
        for (member, state) in s.members.iter().enumerate() {
            match state.handling.map(|it| it.step) {
                Some(Step::Read) if self.handler == Handler::Effect => actions.push(Action::Check { member, server }),
                Some(Step::Read | Step::Buried) => actions.push(Action::Handle { member, server }),
                Some(Step::Checked(_)) => {}
                Some(Step::Acted) => actions.push(Action::MoveOffset { member, server }),
                None => {
                    let kafka = if state.bus == Bus::Kafka { s.kafka.len() } else { 0 };
                    actions.extend((0..kafka).map(|index| Action::Fetch { member, index, server }));
                    let partitions = 0..tables.partitions;
                    actions.extend(partitions.map(|partition| Action::ReadLog { member, partition, server }));
                    if self.handler == Handler::Effect {
                        actions.push(Action::TakeLease { member, server });
                    }
                }
            }
        }
        for (replay, chosen) in s.replays.iter().enumerate() {
            match chosen {
                Some(_) => actions.push(Action::Replay { replay, server }),
                None => {
                    let letters = 0..tables.letters.len();
                    actions.extend(letters.map(|index| Action::ChooseLetter { replay, index, server }));
                }
            }
        }
    }

    /// Merges states that differ only in the durability of units, if no later fault asks for the difference.
    fn forget_durability(&self, s: &mut State) {
        let left = s.left;
        if left.crashes + left.failovers + left.splits + left.restores == 0 {
            s.servers.iter_mut().for_each(Server::flush);
            let kept = s.alive().fold(Ids::MAX, |ids, server| ids & s.servers[server].tables().ids());
            s.told &= !kept;
        }
    }

    fn fault_actions(&self, s: &State, actions: &mut Vec<Action>) {
        let primary = s.servers.len() - 1;
        if s.left.crashes > 0 {
            actions.extend(s.alive().map(|server| Action::Crash { server }));
        }
        // every replica has the schema and the first epoch
        let kept = 2..s.servers[primary].flushed;
        if s.left.failovers > 0 {
            actions.extend(kept.clone().map(|kept| Action::Failover { kept }));
        }
        if s.left.splits > 0 {
            actions.extend(kept.clone().map(|kept| Action::Split { kept }));
        }
        if s.left.restores > 0 {
            actions.extend(kept.map(|kept| Action::Restore { kept }));
        }
        if s.left.repartitionings > 0 {
            actions.extend(s.alive().map(|server| Action::Repartition { server }));
        }
        if s.left.purges > 0 {
            actions.extend(s.alive().map(|server| Action::Purge { server }));
        }
        if s.left.bus_changes > 0 {
            actions.extend((0..s.members.len()).map(|member| Action::ChangeBus { member }));
        }
        if s.left.expiries > 0 {
            actions.push(Action::Expire);
        }
        if self.failing.is_some() && !s.is_repaired {
            actions.push(Action::Repair);
        }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        // the topic's partitions come with the schema, before the first epoch
        let wal = vec![Unit::Partitions { number: self.partitions, with_epoch: true }, Unit::Epoch { id: 0, life: 0 }];
        let primary = Server { flushed: wal.len(), wal, life: 0, alive: true };
        let process = Process::new(&primary.tables());
        let member = Member { bus: self.bus, handling: None, lease: None };
        let processes = if self.has_in_process() { self.relays.max(self.members) } else { self.relays };
        vec![State {
            servers: vec![primary],
            standby_life: 1,
            lives: 1,
            epochs: 0,
            kafka: vec![],
            units: vec![Progress::Idle; self.keys.len()],
            processes: vec![process; processes],
            members: vec![member; self.members],
            replays: vec![None; self.replays],
            told: 0,
            effects: vec![],
            lapsed: 0,
            is_repaired: false,
            is_restored: false,
            is_blind: false,
            left: self.faults,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        for server in s.alive() {
            self.unit_actions(s, server, actions);
            self.process_actions(s, server, actions);
            self.member_actions(s, server, actions);
        }
        let standby = s.servers.len();
        if !self.on(Rule::RecoveryIsUnavailable) && s.left.failovers > 0 {
            let idle = (0..s.units.len()).filter(|it| s.units[*it] == Progress::Idle && !self.is_later(s, *it));
            actions.extend(idle.map(|unit| Action::Connect { unit, server: standby }));
        }
        for (relay, memory) in s.processes.iter().enumerate().take(self.relays) {
            if memory.sending.is_some() {
                actions.push(Action::RelaySend { relay });
            }
        }
        for (member, state) in s.members.iter().enumerate() {
            if let Some(Handling { step: Step::Checked(_), .. }) = state.handling {
                actions.push(Action::Act { member });
            }
        }
        self.fault_actions(s, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut s = before.clone();
        match action {
            Action::Connect { unit, server } => self.open(&mut s, unit, server),
            Action::Commit { unit, server } => self.commit(&mut s, unit, server),
            Action::Flush { unit, server } => self.flush(&mut s, unit, server),
            Action::RepeatAnswer { unit, server } => self.repeat_answer(&mut s, unit, server),
            Action::PollEnds { process, server } => self.poll_ends(&mut s, process, server),
            Action::FlushPolled { process, server } => self.flush_polled(&mut s, process, server),
            Action::RelayRead { relay, partition, server } => self.relay_read(&mut s, relay, partition, server),
            Action::RelaySend { relay } => self.relay_send(&mut s, relay),
            Action::RelaySetAside { relay, server } => self.relay_set_aside(&mut s, relay, server),
            Action::RelayMark { relay, partition, server } => self.relay_mark(&mut s, relay, partition, server),
            Action::RelayRestart { relay, server } => self.relay_restart(&mut s, relay, server),
            Action::Fetch { member, index, server } => self.fetch(&mut s, member, index, server),
            Action::ReadLog { member, partition, server } => self.read_log(&mut s, member, partition, server),
            Action::Handle { member, server } => self.handle(&mut s, member, server),
            Action::TakeLease { member, server } => self.take_lease(&mut s, member, server),
            Action::Check { member, server } => self.check(&mut s, member, server),
            Action::Act { member } => self.act(&mut s, member),
            Action::MoveOffset { member, server } => self.move_offset(&mut s, member, server),
            Action::ChooseLetter { replay, index, server } => self.choose_letter(&mut s, replay, index, server),
            Action::Replay { replay, server } => self.replay(&mut s, replay, server),
            Action::Repair => s.is_repaired = true,
            Action::Repartition { server } => self.repartition(&mut s, server),
            Action::Purge { server } => self.purge(&mut s, server),
            Action::ChangeBus { member } => self.change_bus(&mut s, member),
            Action::Expire => self.expire(&mut s),
            Action::Crash { server } => self.crash(&mut s, server),
            Action::Failover { kept } => self.fail_over(&mut s, kept, false),
            Action::Split { kept } => self.fail_over(&mut s, kept, true),
            Action::Restore { kept } => self.restore(&mut s, kept),
        }
        self.forget_durability(&mut s);
        (s != *before).then_some(s)
    }

    fn within_boundary(&self, s: &State) -> bool {
        let is_short = |server: &Server| server.wal.len() <= self.max_wal;
        s.kafka.len() <= self.max_kafka && s.effects.len() <= self.max_effects && s.servers.iter().all(is_short)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}

/// Events of the same key in the order of the log.
pub(crate) fn of_key(events: &[Event], key: u8) -> impl Iterator<Item = Event> {
    events.iter().copied().filter(move |event| event.key == key)
}
