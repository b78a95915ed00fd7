-- By UTC day; amounts in minor units. Sums only, so that events may come in any order: no lower bounds.
CREATE TABLE settlement_day (
    day      date   NOT NULL PRIMARY KEY,
    gross    bigint NOT NULL,
    discount bigint NOT NULL,
    refunded bigint NOT NULL,
    payments bigint NOT NULL
);
