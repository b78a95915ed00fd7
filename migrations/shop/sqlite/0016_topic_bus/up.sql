-- Which bus each topic is on, by the settings of the process that started last.
CREATE TABLE topic_bus (
    topic TEXT PRIMARY KEY NOT NULL,
    bus TEXT NOT NULL CHECK (bus IN ('in-process', 'kafka'))
) STRICT, WITHOUT ROWID;
