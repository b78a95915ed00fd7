-- Positions that the relay passed without copying the event to Kafka: refused there, or behind one of their key that was.
CREATE TABLE set_aside (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, position)
) STRICT, WITHOUT ROWID;
