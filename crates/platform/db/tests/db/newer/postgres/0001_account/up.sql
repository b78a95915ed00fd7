CREATE TABLE account (
    id bigint PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance >= 0),
    note text NOT NULL DEFAULT ''
);
-- what the tests' recorder writes
CREATE TABLE recorded (
    number bigserial PRIMARY KEY,
    key text NOT NULL UNIQUE
);
