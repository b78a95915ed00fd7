-- What a database was made with and can't be changed by settings later.
CREATE TABLE shop_setting (
    name text PRIMARY KEY,
    value text NOT NULL
);
