CREATE TABLE member (
    id BLOB NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('member', 'admin')),
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX member_admin ON member (id) WHERE role = 'admin';

CREATE TABLE session (
    id BLOB NOT NULL PRIMARY KEY,
    member_id BLOB NOT NULL REFERENCES member (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_member ON session (member_id);
CREATE INDEX session_by_expiry ON session (expires_at);

-- Every refresh token of a session, as the SHA-256 of it: those rotated out are kept, so that their reuse is seen.
CREATE TABLE refresh_token (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    session_id BLOB NOT NULL REFERENCES session (id),
    expires_at INTEGER NOT NULL,
    rotated_at INTEGER
) STRICT, WITHOUT ROWID;
-- At most one live token a session.
CREATE UNIQUE INDEX refresh_token_live ON refresh_token (session_id) WHERE rotated_at IS NULL;
CREATE INDEX refresh_token_by_session ON refresh_token (session_id);
CREATE INDEX refresh_token_by_expiry ON refresh_token (expires_at);
