-- What Kafka refuses leaves its partition's way: `docs/decisions` says how order and the ledger hold.

CREATE TABLE held (
    id uuid PRIMARY KEY,           -- of the event
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,              -- where it was in the log when it was held
    key text NOT NULL,
    state text NOT NULL CHECK (state IN ('retrying', 'behind', 'resending', 'dead', 'discarded')),
    attempts integer NOT NULL,              -- deliveries that were refused
    next_attempt_at timestamptz,
    reason text,
    refused_at timestamptz NOT NULL,            -- first
    changed_at timestamptz NOT NULL,
    kind text NOT NULL,
    version smallint NOT NULL,
    aggregate_version bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    payload json NOT NULL
);
CREATE INDEX held_place ON held (topic, partition, key, position);
CREATE INDEX held_due ON held (next_attempt_at) WHERE state = 'retrying';

-- Counts that neither the log nor `held` can tell.
CREATE TABLE ledger (
    topic text PRIMARY KEY,
    appended_again bigint NOT NULL DEFAULT 0,   -- positions given to events that had one already
    passed bigint NOT NULL DEFAULT 0,           -- positions behind the relay's that it did not deliver
    discarded bigint NOT NULL DEFAULT 0
);

-- Where Kafka has events: positions from first to last are at the offset that is `shift` more.
CREATE TABLE delivered_span (
    topic text NOT NULL,
    partition integer NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    shift bigint NOT NULL,
    PRIMARY KEY (topic, partition, last)
);

DROP INDEX event_log_key;
CREATE INDEX event_log_moved ON event_log (topic, partition, position) WHERE kind = 'moved';

-- The topics that were made, of all proxies that share the control database.
CREATE TABLE topic (
    name text PRIMARY KEY,
    partitions integer NOT NULL,
    replication integer,                    -- the brokers' unless given
    retention bigint,                      -- in milliseconds
    created_at timestamptz NOT NULL,
    made_at timestamptz,                        -- on Kafka; it is made there once, and never again by itself
    deleted_at timestamptz
);
