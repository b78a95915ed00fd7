-- Sessions of the admin's pages, which all proxies of one control database share.

CREATE TABLE kept_secret (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE ended_session (
    hash BLOB PRIMARY KEY NOT NULL,         -- SHA-256 of its id
    expires_at INTEGER NOT NULL             -- the cookie's end, when the row goes
) STRICT;
