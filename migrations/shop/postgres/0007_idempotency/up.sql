-- Answers to requests with an Idempotency-Key, kept for a day. A row without a status belongs to the unit that runs.
CREATE TABLE idempotency_key (
    principal uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    created_at timestamptz NOT NULL,
    status integer CHECK (status BETWEEN 200 AND 499),
    location text,
    body text,
    PRIMARY KEY (principal, key)
);

CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);
