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

-- Where a closed epoch ends: the position behind its last event. No row: not known yet.
CREATE TABLE topic_epoch_end (
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (topic, number, partition)
) STRICT, WITHOUT ROWID;
