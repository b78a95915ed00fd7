-- Answers to requests with an Idempotency-Key, kept for a day. A row without a status belongs to the unit that runs.
CREATE TABLE idempotency_key (
    principal BLOB NOT NULL CHECK (length(principal) = 16),
    key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    created_at INTEGER NOT NULL,
    status INTEGER CHECK (status BETWEEN 200 AND 499),
    location TEXT,
    body TEXT,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);
