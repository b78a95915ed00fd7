CREATE TABLE purchase_order (
    id            uuid        NOT NULL PRIMARY KEY,
    product_id    uuid        NOT NULL,
    quantity      bigint      NOT NULL CHECK (quantity > 0),
    status        text        NOT NULL CHECK (status IN ('open', 'received')),
    opened_at     timestamptz NOT NULL,
    received_at   timestamptz,
    CHECK ((status = 'received') = (received_at IS NOT NULL))
);

CREATE UNIQUE INDEX purchase_order_open_once ON purchase_order (product_id) WHERE status = 'open';
