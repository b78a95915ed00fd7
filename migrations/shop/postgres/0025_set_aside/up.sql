-- Positions that the relay passed without copying the event to Kafka: refused there, or behind one of their key that was.
CREATE TABLE set_aside (
    topic text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (topic, partition, position)
);
