//! Small and large sizes of the model, each with the faults that it allows.

use crate::rule::Rule;
use crate::state::{Bus, Faults};

/// Kind of handling in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// In the unit that moves the offset.
    Transactional,
    /// Outside the database; members hold leases.
    Effect,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Rule that is switched off.
    pub off: Option<Rule>,
    /// Key of each unit's event.
    pub keys: &'static [u8],
    pub partitions: u8,
    /// Number of partitions after a repartitioning.
    pub repartitioned: u8,
    pub relays: usize,
    /// Members of the group; no members leave Kafka unread.
    pub members: usize,
    pub handler: Handler,
    /// Bus of each member at the start.
    pub bus: Bus,
    /// Units hold their connection before the last statement.
    pub connections: bool,
    /// Answers of units are repeated.
    pub repeats: bool,
    /// Relays die and start again.
    pub relay_restarts: bool,
    /// Event that Kafka refuses.
    pub refused: Option<u8>,
    /// Event that the handler fails on until the repair of the cause.
    pub failing: Option<u8>,
    /// Operators that replay dead letters.
    pub replays: usize,
    pub faults: Faults,
    /// Limits of repeated records, effects and marks.
    pub max_kafka: usize,
    pub max_effects: usize,
    pub max_wal: usize,
}

const NONE: Faults = Faults {
    crashes: 0,
    failovers: 0,
    splits: 0,
    restores: 0,
    expiries: 0,
    bus_changes: 0,
    repartitionings: 0,
    purges: 0,
};

const BASE: Scenario = Scenario {
    name: "",
    off: None,
    keys: &[0, 0],
    partitions: 1,
    repartitioned: 0,
    relays: 1,
    members: 1,
    handler: Handler::Transactional,
    bus: Bus::Kafka,
    connections: false,
    repeats: false,
    relay_restarts: false,
    refused: None,
    failing: None,
    replays: 0,
    faults: NONE,
    max_kafka: 3,
    max_effects: 3,
    max_wal: 8,
};

/// Scenarios of `cargo test`.
pub const SMALL: &[Scenario] = &[
    Scenario {
        name: "flush",
        members: 0,
        repeats: true,
        relay_restarts: true,
        faults: Faults { crashes: 1, ..NONE },
        ..BASE
    },
    Scenario { name: "two crashes", members: 0, faults: Faults { crashes: 2, ..NONE }, ..BASE },
    Scenario { name: "failover", faults: Faults { failovers: 1, ..NONE }, ..BASE },
    Scenario { name: "lost epoch", members: 0, faults: Faults { crashes: 1, failovers: 1, ..NONE }, ..BASE },
    Scenario { name: "connections", connections: true, faults: Faults { failovers: 1, restores: 1, ..NONE }, ..BASE },
    Scenario { name: "unseen restore", members: 2, faults: Faults { restores: 1, ..NONE }, max_kafka: 2, ..BASE },
    Scenario { name: "two primaries", faults: Faults { splits: 1, ..NONE }, max_kafka: 2, max_wal: 6, ..BASE },
    Scenario { name: "members", members: 2, faults: Faults { crashes: 1, ..NONE }, ..BASE },
    Scenario {
        name: "repartitioning",
        keys: &[1, 1],
        repartitioned: 2,
        connections: true,
        faults: Faults { crashes: 1, repartitionings: 1, ..NONE },
        max_kafka: 2,
        ..BASE
    },
    Scenario {
        name: "old partitions",
        keys: &[3, 3],
        partitions: 2,
        repartitioned: 3,
        faults: Faults { repartitionings: 1, ..NONE },
        max_kafka: 2,
        ..BASE
    },
    Scenario {
        name: "lost repartitioning",
        keys: &[1, 1],
        repartitioned: 2,
        faults: Faults { failovers: 1, repartitionings: 2, ..NONE },
        ..BASE
    },
    Scenario {
        name: "leases",
        members: 2,
        handler: Handler::Effect,
        faults: Faults { expiries: 1, ..NONE },
        max_kafka: 2,
        max_effects: 4,
        ..BASE
    },
    Scenario {
        name: "effects and a crash",
        handler: Handler::Effect,
        relays: 0,
        bus: Bus::InProcess,
        faults: Faults { crashes: 1, ..NONE },
        ..BASE
    },
    Scenario {
        name: "effects and a failover",
        handler: Handler::Effect,
        faults: Faults { failovers: 1, ..NONE },
        max_kafka: 2,
        ..BASE
    },
    Scenario {
        name: "set aside",
        refused: Some(0),
        faults: Faults { crashes: 1, ..NONE },
        max_kafka: 2,
        max_wal: 9,
        ..BASE
    },
    Scenario { name: "dead letters", relays: 0, members: 2, bus: Bus::InProcess, failing: Some(0), replays: 2, ..BASE },
    Scenario {
        name: "lost replay",
        relays: 0,
        bus: Bus::InProcess,
        failing: Some(0),
        replays: 1,
        faults: Faults { crashes: 1, ..NONE },
        ..BASE
    },
    Scenario {
        name: "purge",
        bus: Bus::InProcess,
        relay_restarts: true,
        faults: Faults { purges: 1, ..NONE },
        max_kafka: 2,
        ..BASE
    },
    Scenario { name: "change of the bus", relay_restarts: true, faults: Faults { bus_changes: 1, ..NONE }, ..BASE },
];

/// Scenarios of the program `model`: more keys, members and faults together.
pub const LARGE: &[Scenario] = &[
    Scenario { name: "two relays", relays: 2, faults: Faults { crashes: 1, ..NONE }, max_wal: 7, ..BASE },
    Scenario {
        name: "crash and failover",
        relay_restarts: true,
        faults: Faults { crashes: 1, failovers: 1, ..NONE },
        ..BASE
    },
    Scenario {
        name: "two failovers",
        relay_restarts: true,
        faults: Faults { failovers: 2, ..NONE },
        max_wal: 9,
        ..BASE
    },
    Scenario {
        name: "two primaries and a crash",
        members: 0,
        faults: Faults { crashes: 1, splits: 1, ..NONE },
        max_kafka: 2,
        max_wal: 6,
        ..BASE
    },
    Scenario {
        name: "old partitions and failover",
        keys: &[3, 3],
        partitions: 2,
        repartitioned: 3,
        faults: Faults { failovers: 1, repartitionings: 2, ..NONE },
        ..BASE
    },
    Scenario {
        name: "leases and failover",
        members: 2,
        handler: Handler::Effect,
        faults: Faults { failovers: 1, expiries: 1, ..NONE },
        max_kafka: 2,
        max_wal: 7,
        ..BASE
    },
    Scenario {
        name: "set aside with another key",
        keys: &[0, 0, 1],
        refused: Some(0),
        faults: Faults { crashes: 1, ..NONE },
        max_kafka: 1,
        max_wal: 11,
        ..BASE
    },
    Scenario {
        name: "lost replay with another key",
        keys: &[0, 0, 1],
        bus: Bus::InProcess,
        relays: 0,
        failing: Some(0),
        replays: 2,
        faults: Faults { crashes: 1, ..NONE },
        max_wal: 10,
        ..BASE
    },
    Scenario {
        name: "purge, change of the bus, crash and failover",
        faults: Faults { crashes: 1, failovers: 1, bus_changes: 1, purges: 1, ..NONE },
        max_kafka: 2,
        ..BASE
    },
];
