-- The event log and what consumer groups keep. `docs/decisions` says why a group is one number a partition.

CREATE TABLE log_source (
    id BLOB PRIMARY KEY NOT NULL
) STRICT;

CREATE TABLE topic_partition (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next INTEGER NOT NULL DEFAULT 0,        -- the position that the next event gets
    relayed INTEGER NOT NULL DEFAULT -1,    -- the end of what Kafka has acknowledged
    floor INTEGER NOT NULL DEFAULT 0,       -- the first position that is kept
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_log (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    id BLOB NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    aggregate_version INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    appended_at INTEGER NOT NULL,
    traceparent TEXT,
    payload TEXT NOT NULL,
    PRIMARY KEY (topic, partition, position)
) STRICT;
CREATE UNIQUE INDEX event_log_id ON event_log (id);
CREATE INDEX event_log_key ON event_log (key);

CREATE TABLE consumer_group (
    name TEXT PRIMARY KEY NOT NULL,
    mode TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE group_position (
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    source BLOB NOT NULL,
    position INTEGER NOT NULL,              -- the last one handled; -1 is none
    PRIMARY KEY (grp, topic, partition, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE group_member (
    grp TEXT NOT NULL,
    member BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (grp, member)
) STRICT, WITHOUT ROWID;

CREATE TABLE group_lease (
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    number INTEGER NOT NULL DEFAULT 0,      -- grows each time the partition changes hands
    holder BLOB,                            -- null once it was let go
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (grp, topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE handling_attempt (
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (grp, topic, partition, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
    id BLOB PRIMARY KEY NOT NULL,
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    key TEXT NOT NULL,
    event_id BLOB NOT NULL,
    event TEXT NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('dead', 'replay', 'discarded')),
    failed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX dead_letter_event ON dead_letter (event_id);
CREATE INDEX dead_letter_group ON dead_letter (grp, topic);

CREATE TABLE blocked_key (
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    partition INTEGER NOT NULL,
    dead_letter BLOB NOT NULL,
    parked INTEGER NOT NULL DEFAULT 0,      -- events that wait behind it
    PRIMARY KEY (grp, topic, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked_event (
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (grp, topic, key, position)
) STRICT;
CREATE INDEX parked_event_id ON parked_event (event_id);
