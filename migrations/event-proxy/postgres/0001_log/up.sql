-- The event log and what consumer groups keep. `docs/decisions` says why a group is one number a partition.

CREATE TABLE log_source (
    id uuid PRIMARY KEY
);

CREATE TABLE topic_partition (
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL DEFAULT 0,        -- the position that the next event gets
    relayed bigint NOT NULL DEFAULT -1,    -- the end of what Kafka has acknowledged
    floor bigint NOT NULL DEFAULT 0,       -- the first position that is kept
    PRIMARY KEY (topic, partition)
);

CREATE TABLE event_log (
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    id uuid NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    version smallint NOT NULL,
    aggregate_version bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    appended_at timestamptz NOT NULL,
    traceparent text,
    payload json NOT NULL,
    PRIMARY KEY (topic, partition, position)
);
CREATE UNIQUE INDEX event_log_id ON event_log (id);
CREATE INDEX event_log_key ON event_log (key);

CREATE TABLE consumer_group (
    name text PRIMARY KEY,
    mode text NOT NULL
);

CREATE TABLE group_position (
    grp text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    source uuid NOT NULL,
    position bigint NOT NULL,              -- the last one handled; -1 is none
    PRIMARY KEY (grp, topic, partition, source)
);

CREATE TABLE group_member (
    grp text NOT NULL,
    member uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (grp, member)
);

CREATE TABLE group_lease (
    grp text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    number bigint NOT NULL DEFAULT 0,      -- grows each time the partition changes hands
    holder uuid,                            -- null once it was let go
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (grp, topic, partition)
);

CREATE TABLE handling_attempt (
    grp text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    attempts integer NOT NULL,
    PRIMARY KEY (grp, topic, partition, position)
);

CREATE TABLE dead_letter (
    id uuid PRIMARY KEY,
    grp text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    key text NOT NULL,
    event_id uuid NOT NULL,
    event json NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    status text NOT NULL CHECK (status IN ('dead', 'replay', 'discarded')),
    failed_at timestamptz NOT NULL
);
CREATE INDEX dead_letter_event ON dead_letter (event_id);
CREATE INDEX dead_letter_group ON dead_letter (grp, topic);

CREATE TABLE blocked_key (
    grp text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    partition integer NOT NULL,
    dead_letter uuid NOT NULL,
    parked bigint NOT NULL DEFAULT 0,      -- events that wait behind it
    PRIMARY KEY (grp, topic, key)
);

CREATE TABLE parked_event (
    grp text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    event_id uuid NOT NULL,
    event json NOT NULL,
    PRIMARY KEY (grp, topic, key, position)
);
CREATE INDEX parked_event_id ON parked_event (event_id);

-- Units of work leave their events here; the sequencer moves them into the log, with positions.
-- CACHE 1, for within a key the order of `seq` must be the order of commits.
CREATE SEQUENCE outbox_seq AS bigint CACHE 1;
CREATE TABLE outbox (
    seq bigint NOT NULL DEFAULT nextval('outbox_seq'),
    topic text NOT NULL,
    partition integer NOT NULL,
    id uuid NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    version smallint NOT NULL,
    aggregate_version bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    payload json NOT NULL,
    PRIMARY KEY (topic, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- A topic may gain partitions: then events of a key may lie in several of them.

-- Where each partition ended when that happened. A group handles nothing behind these ends before it has passed all.
CREATE TABLE topic_fence (
    topic text NOT NULL,
    partitions integer NOT NULL,           -- that the topic had from then on
    partition integer NOT NULL,            -- one that it had already
    next bigint NOT NULL,                  -- the position that its next event would get
    PRIMARY KEY (topic, partitions, partition)
);

-- Which partition it is, is said by the sequencer: the rest of the hash by their number. A partition that was left here
-- is the rest of itself.
ALTER TABLE outbox RENAME COLUMN partition TO key_hash;

-- Positions of several partitions have no order: that in which they were parked is that of the key.
ALTER TABLE parked_event ADD COLUMN seq bigint;
UPDATE parked_event SET seq = position;
ALTER TABLE parked_event DROP CONSTRAINT parked_event_pkey, ADD PRIMARY KEY (grp, topic, key, seq);
