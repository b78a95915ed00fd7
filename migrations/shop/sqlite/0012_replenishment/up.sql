CREATE TABLE purchase_order (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    product_id    BLOB    NOT NULL CHECK (length(product_id) = 16),
    quantity      INTEGER NOT NULL CHECK (quantity > 0),
    status        TEXT    NOT NULL CHECK (status IN ('open', 'received')),
    opened_at     INTEGER NOT NULL,
    received_at   INTEGER,
    CHECK ((status = 'received') = (received_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX purchase_order_open_once ON purchase_order (product_id) WHERE status = 'open';
