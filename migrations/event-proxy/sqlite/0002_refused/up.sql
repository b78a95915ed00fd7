-- What Kafka refuses leaves its partition's way: `docs/decisions` says how order and the ledger hold.

CREATE TABLE held (
    id BLOB PRIMARY KEY NOT NULL,           -- of the event
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,              -- where it was in the log when it was held
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('retrying', 'behind', 'resending', 'dead', 'discarded')),
    attempts INTEGER NOT NULL,              -- deliveries that were refused
    next_attempt_at INTEGER,
    reason TEXT,
    refused_at INTEGER NOT NULL,            -- first
    changed_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    aggregate_version INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    traceparent TEXT,
    payload TEXT NOT NULL
) STRICT;
CREATE INDEX held_place ON held (topic, partition, key, position);
CREATE INDEX held_due ON held (next_attempt_at) WHERE state = 'retrying';

-- Counts that neither the log nor `held` can tell.
CREATE TABLE ledger (
    topic TEXT PRIMARY KEY NOT NULL,
    appended_again INTEGER NOT NULL DEFAULT 0,   -- positions given to events that had one already
    passed INTEGER NOT NULL DEFAULT 0,           -- positions behind the relay's that it did not deliver
    discarded INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Where Kafka has events: positions from first to last are at the offset that is `shift` more.
CREATE TABLE delivered_span (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    shift INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, last)
) STRICT, WITHOUT ROWID;

-- Nothing looks for keys but behind the relay, where few are.
DROP INDEX event_log_key;
CREATE INDEX event_log_moved ON event_log (topic, partition, position) WHERE kind = 'moved';

-- The topics that were made, of all proxies that share the control database.
CREATE TABLE topic (
    name TEXT PRIMARY KEY NOT NULL,
    partitions INTEGER NOT NULL,
    replication INTEGER,                    -- the brokers' unless given
    retention INTEGER,                      -- in milliseconds
    created_at INTEGER NOT NULL,
    made_at INTEGER,                        -- on Kafka; it is made there once, and never again by itself
    deleted_at INTEGER
) STRICT, WITHOUT ROWID;
