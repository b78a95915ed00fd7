-- Sessions of the admin's pages, which all proxies of one control database share.

CREATE TABLE kept_secret (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE ended_session (
    hash bytea PRIMARY KEY,                 -- SHA-256 of its id
    expires_at timestamptz NOT NULL         -- the cookie's end, when the row goes
);
