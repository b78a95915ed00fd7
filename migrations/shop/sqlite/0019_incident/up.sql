-- What other services told of; each event opens one.
CREATE TABLE incident (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    event_id    BLOB    NOT NULL UNIQUE CHECK (length(event_id) = 16),
    topic       TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    reason      TEXT,
    event       TEXT    NOT NULL,
    occurred_at INTEGER NOT NULL,
    opened_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
