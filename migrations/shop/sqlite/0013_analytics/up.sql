-- Sums only, so that events may come in any order: no lower bounds.

-- Units paid for by hour; the hour leads, because the popular products are a range of hours.
CREATE TABLE product_sales_hour (
    hour       INTEGER NOT NULL,
    product_id BLOB    NOT NULL CHECK (length(product_id) = 16),
    sold       INTEGER NOT NULL,
    PRIMARY KEY (hour, product_id)
) STRICT, WITHOUT ROWID;

-- By UTC day; amounts in minor units.
CREATE TABLE sales_day (
    day      TEXT    NOT NULL PRIMARY KEY,
    orders   INTEGER NOT NULL,
    paid     INTEGER NOT NULL,
    revenue  INTEGER NOT NULL,
    refunds  INTEGER NOT NULL,
    refunded INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE coupon_issue_day (
    coupon_id   BLOB    NOT NULL CHECK (length(coupon_id) = 16),
    day         TEXT    NOT NULL,
    coupon_name TEXT    NOT NULL,
    issued      INTEGER NOT NULL,
    PRIMARY KEY (coupon_id, day)
) STRICT, WITHOUT ROWID;
