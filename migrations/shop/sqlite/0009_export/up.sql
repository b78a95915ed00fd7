-- The files that the data platform's export wrote, and how far each counts: what lies behind `length` was written
-- but never committed, and is cut off by whoever takes the partition next.
CREATE TABLE export_file (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    name TEXT NOT NULL,
    length INTEGER NOT NULL CHECK (length >= 0),
    PRIMARY KEY (topic, partition, lease, sequence)
) STRICT, WITHOUT ROWID;
