-- What proxies share: in the control database, which is the proxy's own unless set.

CREATE TABLE api_key (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL,                    -- SHA-256 of the key, which nobody keeps but its holder
    name text NOT NULL,
    services json NOT NULL,                 -- an array; empty: all
    events_per_second bigint,
    bytes_per_second bigint,
    created_at timestamptz NOT NULL,
    rotated_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX api_key_hash ON api_key (hash);

CREATE TABLE audit (
    id uuid PRIMARY KEY,                    -- by the time
    at timestamptz NOT NULL,
    who text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL
);
