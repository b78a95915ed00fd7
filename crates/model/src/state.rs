use crate::database::{Event, Ids, PARTITIONS, Server, Tables};

/// Connection of a unit that was opened before the unit's last statement.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) server: usize,
    pub(crate) life: u8,
    pub(crate) epoch: u8,
    /// Number of partitions that the unit uses for its key.
    pub(crate) partitions: u8,
}

/// Progress of a unit of business code.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Progress {
    Idle,
    Connected(Connection),
    Committed { event: Event, life: u8 },
    Done,
}

/// End offsets that a poll has read and not flushed yet.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Poll {
    pub(crate) ends: [u8; PARTITIONS],
    pub(crate) epoch: u8,
}

/// Memory of one process: the end offsets, and the relay's position for the process with a relay.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) epoch: u8,
    pub(crate) ends: [u8; PARTITIONS],
    pub(crate) poll: Option<Poll>,
    pub(crate) next: [u8; PARTITIONS],
    /// Record on the way to Kafka, and the newest epoch at the time of reading.
    pub(crate) sending: Option<(Event, u8)>,
}

impl Process {
    /// Returns a process that has just started.
    pub(crate) fn new(tables: &Tables) -> Self {
        let epoch = tables.newest_epoch().id;
        Self { epoch, ends: [0; PARTITIONS], poll: None, next: tables.marks, sending: None }
    }
}

/// Check immediately before an effect.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) server: usize,
    pub(crate) life: u8,
    /// Events of the log that the effect rests on.
    pub(crate) seen: Ids,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Step {
    Read,
    /// The dead letter is stored and the offset move is not (`Rule::DeadLetterWithOffset` is off).
    Buried,
    Checked(Check),
    /// The effect has happened, or the offset has moved before the effect (`Rule::OffsetAfterEffect` is off).
    Acted,
}

/// Record that a member handles.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Handling {
    pub(crate) record: Event,
    /// Committed offset at the time of reading.
    pub(crate) expected: u8,
    /// Verdicts of the reading process, for the rules that ask the handling unit instead.
    pub(crate) was_owned: bool,
    pub(crate) was_behind_barrier: bool,
    pub(crate) was_blocked: bool,
    pub(crate) step: Step,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) bus: Bus,
    pub(crate) handling: Option<Handling>,
    /// Number of the lease that the member believes to hold.
    pub(crate) lease: Option<u8>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Bus {
    InProcess,
    Kafka,
}

/// Effect outside the database.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) event: Event,
    /// The log held the event, or lost the event after the check.
    pub(crate) is_known: bool,
}

/// Number of faults and other rare events; of a scenario the budget, of a state the rest.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Faults {
    pub crashes: u8,
    /// Failovers to a replica that lags; the old primary is gone.
    pub failovers: u8,
    /// Promotions of a lagging replica while the old primary goes on.
    pub splits: u8,
    /// Restores of an older state without a new log life.
    pub restores: u8,
    /// Leases that run out while their holder is frozen.
    pub expiries: u8,
    /// Changes of a member's bus.
    pub bus_changes: u8,
    pub repartitionings: u8,
    /// Deletions of old events; only of topics with one partition.
    pub purges: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct State {
    /// All servers so far; new connections of the last one find the primary.
    pub(crate) servers: Vec<Server>,
    /// Log life of the standby that the next failover promotes.
    pub(crate) standby_life: u8,
    pub(crate) lives: u8,
    pub(crate) epochs: u8,
    pub(crate) kafka: Vec<Event>,
    pub(crate) units: Vec<Progress>,
    pub(crate) processes: Vec<Process>,
    pub(crate) members: Vec<Member>,
    /// Events that running replays have chosen.
    pub(crate) replays: Vec<Option<u8>>,
    /// Events that an answer or an effect has told of.
    pub(crate) told: Ids,
    pub(crate) effects: Vec<Effect>,
    /// Number of the newest lease that has run out.
    pub(crate) lapsed: u8,
    /// The cause of the failing event is repaired.
    pub(crate) is_repaired: bool,
    /// A restore without a new log life, and no epoch since then.
    pub(crate) is_restored: bool,
    /// A unit has numbered an event after such a restore: records of the lost history look like the log's.
    pub(crate) is_blind: bool,
    pub(crate) left: Faults,
}

impl State {
    pub(crate) fn new_life(&mut self) -> u8 {
        self.lives += 1;
        self.lives
    }

    /// Indices of the servers that accept connections.
    pub(crate) fn alive(&self) -> impl Iterator<Item = usize> + use<> {
        let alive: Vec<usize> = (0..self.servers.len()).filter(|it| self.servers[*it].alive).collect();
        alive.into_iter()
    }

    /// Number of different events with an effect.
    pub(crate) fn acted_events(&self) -> usize {
        let first =
            |(index, effect): &(usize, &Effect)| self.effects[..*index].iter().all(|it| it.event != effect.event);
        self.effects.iter().enumerate().filter(first).count()
    }
}
