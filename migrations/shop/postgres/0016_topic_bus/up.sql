-- Which bus each topic is on, by the settings of the process that started last.
CREATE TABLE topic_bus (
    topic text PRIMARY KEY,
    bus text NOT NULL CHECK (bus IN ('in-process', 'kafka'))
);
