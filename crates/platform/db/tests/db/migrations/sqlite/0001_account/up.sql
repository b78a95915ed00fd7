CREATE TABLE account (
    id INTEGER PRIMARY KEY NOT NULL,
    balance INTEGER NOT NULL CHECK (balance >= 0),
    note TEXT NOT NULL DEFAULT ''
) STRICT;
-- what the tests' recorder writes
CREATE TABLE recorded (
    number INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    key TEXT NOT NULL UNIQUE
) STRICT;
