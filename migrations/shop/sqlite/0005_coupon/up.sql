CREATE TABLE coupon (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Hundredths of a percent; either this or an amount.
    percent_hundredths INTEGER CHECK (percent_hundredths BETWEEN 1 AND 10000),
    max_discount INTEGER CHECK (max_discount > 0),
    amount INTEGER CHECK (amount > 0),
    min_order INTEGER NOT NULL CHECK (min_order >= 0),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    issued INTEGER NOT NULL DEFAULT 0 CHECK (issued BETWEEN 0 AND quantity),
    opens_at INTEGER,
    closes_at INTEGER,
    valid_days INTEGER CHECK (valid_days > 0),
    created_at INTEGER NOT NULL,
    CHECK ((percent_hundredths IS NULL) <> (amount IS NULL)),
    CHECK (max_discount IS NULL OR percent_hundredths IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE TABLE owned_coupon (
    id BLOB NOT NULL PRIMARY KEY,
    coupon_id BLOB NOT NULL REFERENCES coupon (id),
    member_id BLOB NOT NULL,
    request_id BLOB NOT NULL,
    -- Of the winning request in the event log.
    position INTEGER NOT NULL CHECK (position >= 0),
    -- The how-manieth of its coupon, from 1.
    ordinal INTEGER NOT NULL CHECK (ordinal > 0),
    status TEXT NOT NULL CHECK (status IN ('available', 'reserved', 'used')),
    order_id BLOB,
    version INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER,
    UNIQUE (coupon_id, member_id),
    UNIQUE (coupon_id, ordinal),
    CHECK ((status = 'available') = (order_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX owned_coupon_by_member ON owned_coupon (member_id, id);

-- How each request for a first-come coupon ended: one row a request.
CREATE TABLE coupon_request (
    request_id BLOB NOT NULL PRIMARY KEY,
    coupon_id BLOB NOT NULL,
    member_id BLOB NOT NULL,
    -- Of the request in the event log.
    position INTEGER NOT NULL CHECK (position >= 0),
    status TEXT NOT NULL CHECK (status IN ('issued', 'sold_out', 'duplicate', 'rejected')),
    owned_coupon_id BLOB,
    -- Of the request that won the owned coupon: this one, or an earlier one of the same member.
    won_position INTEGER,
    reason TEXT,
    requested_at INTEGER NOT NULL,
    handled_at INTEGER NOT NULL,
    CHECK ((status IN ('issued', 'duplicate')) = (owned_coupon_id IS NOT NULL)),
    CHECK ((owned_coupon_id IS NULL) = (won_position IS NULL)),
    CHECK ((status = 'rejected') = (reason IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX coupon_request_by_position ON coupon_request (coupon_id, position);
-- At most one request wins for a member.
CREATE UNIQUE INDEX coupon_request_winner ON coupon_request (owned_coupon_id) WHERE status = 'issued';
