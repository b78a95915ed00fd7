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

-- Where an epoch lies. No row: it is not known yet where it begins, and nothing is taken.
CREATE TABLE topic_epoch_partition (
    topic text NOT NULL,
    number bigint NOT NULL,
    partition integer NOT NULL,
    first bigint NOT NULL,                 -- the position of the first event that may be of it
    next bigint,                           -- the position behind its last event, once it was closed and that is known
    PRIMARY KEY (topic, number, partition)
);
