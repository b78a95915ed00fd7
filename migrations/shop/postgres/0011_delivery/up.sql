-- Found by its order on every event, so that is the key of the table; the id is for people and pages.
CREATE TABLE delivery (
    order_id      uuid        NOT NULL PRIMARY KEY,
    id            uuid        NOT NULL UNIQUE,
    member_id     uuid        NOT NULL,
    status        text        NOT NULL CHECK (status IN ('waiting', 'preparing', 'shipped', 'delivered', 'cancelled')),
    version       bigint      NOT NULL,
    -- of the newest event of the order that was seen
    order_version bigint      NOT NULL,
    changed_at    timestamptz NOT NULL,
    prepared_at   timestamptz,
    shipped_at    timestamptz,
    delivered_at  timestamptz,
    CHECK (status <> 'preparing' OR prepared_at IS NOT NULL),
    CHECK ((status IN ('shipped', 'delivered')) = (shipped_at IS NOT NULL)),
    CHECK ((status = 'delivered') = (delivered_at IS NOT NULL))
);
