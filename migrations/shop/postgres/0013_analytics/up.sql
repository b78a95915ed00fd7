-- Sums only, so that events may come in any order: no lower bounds.

-- Units paid for by hour; the hour leads, because the popular products are a range of hours.
CREATE TABLE product_sales_hour (
    hour       timestamptz NOT NULL,
    product_id uuid        NOT NULL,
    sold       bigint      NOT NULL,
    PRIMARY KEY (hour, product_id)
);

-- By UTC day; amounts in minor units.
CREATE TABLE sales_day (
    day      date   NOT NULL PRIMARY KEY,
    orders   bigint NOT NULL,
    paid     bigint NOT NULL,
    revenue  bigint NOT NULL,
    refunds  bigint NOT NULL,
    refunded bigint NOT NULL
);

CREATE TABLE coupon_issue_day (
    coupon_id   uuid   NOT NULL,
    day         date   NOT NULL,
    coupon_name text   NOT NULL,
    issued      bigint NOT NULL,
    PRIMARY KEY (coupon_id, day)
);
