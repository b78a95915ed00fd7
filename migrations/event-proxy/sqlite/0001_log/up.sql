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

-- A topic may gain partitions: then events of a key may lie in several of them.

-- Where each partition ended when that happened. A group handles nothing behind these ends before it has passed all.
CREATE TABLE topic_fence (
    topic TEXT NOT NULL,
    partitions INTEGER NOT NULL,           -- that the topic had from then on
    partition INTEGER NOT NULL,            -- one that it had already
    next INTEGER NOT NULL,                 -- the position that its next event would get
    PRIMARY KEY (topic, partitions, partition)
) STRICT, WITHOUT ROWID;

-- Positions of several partitions have no order: that in which they were parked is that of the key.
ALTER TABLE parked_event RENAME TO parked_by_position;
DROP INDEX parked_event_id;
CREATE TABLE parked_event (
    grp TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (grp, topic, key, seq)
) STRICT;
INSERT INTO parked_event (grp, topic, key, seq, partition, position, event_id, event)
SELECT grp, topic, key, position, partition, position, event_id, event FROM parked_by_position;
DROP TABLE parked_by_position;
CREATE INDEX parked_event_id ON parked_event (event_id);
