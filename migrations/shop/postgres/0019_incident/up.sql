-- What other services told of; each event opens one.
CREATE TABLE incident (
    id          uuid        NOT NULL PRIMARY KEY,
    event_id    uuid        NOT NULL UNIQUE,
    topic       text        NOT NULL,
    kind        text        NOT NULL,
    key         text        NOT NULL,
    reason      text,
    event       json        NOT NULL,
    occurred_at timestamptz NOT NULL,
    opened_at   timestamptz NOT NULL
);
