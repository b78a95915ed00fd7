-- The number last given to each member: numbers count from 1, by member.
CREATE TABLE notification_counter (
    member_id BLOB NOT NULL PRIMARY KEY,
    last_number INTEGER NOT NULL CHECK (last_number > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE notification (
    member_id BLOB NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    event_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    read INTEGER NOT NULL DEFAULT FALSE CHECK (read IN (0, 1)),
    PRIMARY KEY (member_id, number)
) STRICT, WITHOUT ROWID;

-- A member is told of an event once.
CREATE UNIQUE INDEX notification_once ON notification (event_id, member_id);

-- What left by a channel that reaches outside, so that it leaves once.
CREATE TABLE notification_sent (
    event_id BLOB NOT NULL,
    channel TEXT NOT NULL CHECK (channel IN ('email', 'webhook')),
    recipient TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, channel, recipient)
) STRICT, WITHOUT ROWID;
