-- Topics that may go to the bus without the log: from when to when events went which way.
CREATE TABLE topic_epoch (
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    source BLOB NOT NULL,                  -- what its records on the bus are marked with
    direct INTEGER NOT NULL CHECK (direct IN (0, 1)), -- straight to the bus, or through the log
    cluster TEXT,                          -- where the bus is, once it has said so
    closed_at INTEGER,                     -- no events are taken from then on
    PRIMARY KEY (topic, number)
) STRICT, WITHOUT ROWID;

-- Where an epoch lies. No row: it is not known yet where it begins, and nothing is taken.
CREATE TABLE topic_epoch_partition (
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,                -- the position of the first event that may be of it
    next INTEGER,                          -- the position behind its last event, once it was closed and that is known
    PRIMARY KEY (topic, number, partition)
) STRICT, WITHOUT ROWID;
