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
