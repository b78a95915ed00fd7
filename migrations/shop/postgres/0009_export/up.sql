-- The files that the data platform's export wrote, and how far each counts: what lies behind `length` was written
-- but never committed, and is cut off by whoever takes the partition next.
CREATE TABLE export_file (
    topic text NOT NULL,
    partition integer NOT NULL,
    lease bigint NOT NULL,
    sequence integer NOT NULL,
    name text NOT NULL,
    length bigint NOT NULL CHECK (length >= 0),
    PRIMARY KEY (topic, partition, lease, sequence)
);
