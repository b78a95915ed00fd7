-- What a database was made with and can't be changed by settings later.
CREATE TABLE shop_setting (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
