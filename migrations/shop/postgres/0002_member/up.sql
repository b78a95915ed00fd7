CREATE TABLE member (
    id uuid NOT NULL PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('member', 'admin')),
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX member_admin ON member (id) WHERE role = 'admin';

CREATE TABLE session (
    id uuid NOT NULL PRIMARY KEY,
    member_id uuid NOT NULL REFERENCES member (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX session_by_member ON session (member_id);
CREATE INDEX session_by_expiry ON session (expires_at);

-- Every refresh token of a session, as the SHA-256 of it: those rotated out are kept, so that their reuse is seen.
CREATE TABLE refresh_token (
    hash bytea NOT NULL PRIMARY KEY CHECK (octet_length(hash) = 32),
    session_id uuid NOT NULL REFERENCES session (id),
    expires_at timestamptz NOT NULL,
    rotated_at timestamptz
);
-- At most one live token a session.
CREATE UNIQUE INDEX refresh_token_live ON refresh_token (session_id) WHERE rotated_at IS NULL;
CREATE INDEX refresh_token_by_session ON refresh_token (session_id);
CREATE INDEX refresh_token_by_expiry ON refresh_token (expires_at);
