-- By UTC day; amounts in minor units. Sums only, so that events may come in any order: no lower bounds.
CREATE TABLE settlement_day (
    day      TEXT    NOT NULL PRIMARY KEY,
    gross    INTEGER NOT NULL,
    discount INTEGER NOT NULL,
    refunded INTEGER NOT NULL,
    payments INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
