-- Topics that may go to the bus without the log: from when to when events went which way.
CREATE TABLE topic_epoch (
    topic text NOT NULL,
    number bigint NOT NULL,
    source uuid NOT NULL,                  -- what its records on the bus are marked with
    direct boolean NOT NULL,               -- straight to the bus, or through the log
    cluster text,                          -- where the bus is, once it has said so
    closed_at timestamptz,                 -- no events are taken from then on
    PRIMARY KEY (topic, number)
);

-- Where a closed epoch ends: the position behind its last event. No row: not known yet.
CREATE TABLE topic_epoch_end (
    topic text NOT NULL,
    number bigint NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (topic, number, partition)
);
