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
