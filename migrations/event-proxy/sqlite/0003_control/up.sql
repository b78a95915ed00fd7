-- What proxies share: in the control database, which is the proxy's own unless set.

CREATE TABLE api_key (
    id BLOB PRIMARY KEY NOT NULL,
    hash BLOB NOT NULL,                     -- SHA-256 of the key, which nobody keeps but its holder
    name TEXT NOT NULL,
    services TEXT NOT NULL,                 -- a JSON array; empty: all
    events_per_second INTEGER,
    bytes_per_second INTEGER,
    created_at INTEGER NOT NULL,
    rotated_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE UNIQUE INDEX api_key_hash ON api_key (hash);

CREATE TABLE audit (
    id BLOB PRIMARY KEY NOT NULL,           -- by the time
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
