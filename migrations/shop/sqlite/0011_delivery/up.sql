-- Found by its order on every event, so that is the key of the table; the id is for people and pages.
CREATE TABLE delivery (
    order_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
    id            BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    member_id     BLOB    NOT NULL CHECK (length(member_id) = 16),
    status        TEXT    NOT NULL CHECK (status IN ('waiting', 'preparing', 'shipped', 'delivered', 'cancelled')),
    version       INTEGER NOT NULL,
    -- of the newest event of the order that was seen
    order_version INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    prepared_at   INTEGER,
    shipped_at    INTEGER,
    delivered_at  INTEGER,
    CHECK (status <> 'preparing' OR prepared_at IS NOT NULL),
    CHECK ((status IN ('shipped', 'delivered')) = (shipped_at IS NOT NULL)),
    CHECK ((status = 'delivered') = (delivered_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
