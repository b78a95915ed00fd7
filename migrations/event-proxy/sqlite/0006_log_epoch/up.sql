-- Epochs of the log: the positions that were given during one life of the storage.

CREATE TABLE log_epoch (
    ordinal INTEGER PRIMARY KEY NOT NULL,
    id BLOB NOT NULL UNIQUE,
    life TEXT NOT NULL,                     -- of the storage when the epoch was opened
    opened_at INTEGER NOT NULL
) STRICT;

-- An epoch owns the positions of a partition from its first one up to the first one of the next epoch. An epoch that owns
-- no position of a partition has no row, unless it is the newest.
CREATE TABLE log_epoch_start (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, ordinal)
) STRICT, WITHOUT ROWID;

-- The first epoch has what was appended before there were epochs. Events without an epoch are of this one.
INSERT INTO log_epoch VALUES (0, x'00000000000000000000000000000000', '', 0);
INSERT INTO log_epoch_start SELECT topic, partition, 0, 0 FROM topic_partition;
ALTER TABLE topic_partition ADD COLUMN epoch BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';
ALTER TABLE event_log ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
