-- The number last given to each member: numbers count from 1, by member.
CREATE TABLE notification_counter (
    member_id uuid NOT NULL PRIMARY KEY,
    last_number bigint NOT NULL CHECK (last_number > 0)
);

CREATE TABLE notification (
    member_id uuid NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    kind text NOT NULL,
    text text NOT NULL,
    event_id uuid NOT NULL,
    at timestamptz NOT NULL,
    read boolean NOT NULL DEFAULT FALSE,
    PRIMARY KEY (member_id, number)
);

-- A member is told of an event once.
CREATE UNIQUE INDEX notification_once ON notification (event_id, member_id);

-- What left by a channel that reaches outside, so that it leaves once.
CREATE TABLE notification_sent (
    event_id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'webhook')),
    recipient text NOT NULL,
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, channel, recipient)
);
