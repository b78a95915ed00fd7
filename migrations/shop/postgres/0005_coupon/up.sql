CREATE TABLE coupon (
    id uuid NOT NULL PRIMARY KEY,
    name text NOT NULL,
    -- Hundredths of a percent; either this or an amount.
    percent_hundredths integer CHECK (percent_hundredths BETWEEN 1 AND 10000),
    max_discount bigint CHECK (max_discount > 0),
    amount bigint CHECK (amount > 0),
    min_order bigint NOT NULL CHECK (min_order >= 0),
    quantity bigint NOT NULL CHECK (quantity > 0),
    issued bigint NOT NULL DEFAULT 0 CHECK (issued BETWEEN 0 AND quantity),
    opens_at timestamptz,
    closes_at timestamptz,
    valid_days integer CHECK (valid_days > 0),
    created_at timestamptz NOT NULL,
    CHECK ((percent_hundredths IS NULL) <> (amount IS NULL)),
    CHECK (max_discount IS NULL OR percent_hundredths IS NOT NULL)
);

CREATE TABLE owned_coupon (
    id uuid NOT NULL PRIMARY KEY,
    coupon_id uuid NOT NULL REFERENCES coupon (id),
    member_id uuid NOT NULL,
    request_id uuid NOT NULL,
    -- Of the winning request in the event log.
    position bigint NOT NULL CHECK (position >= 0),
    -- The how-manieth of its coupon, from 1.
    ordinal bigint NOT NULL CHECK (ordinal > 0),
    status text NOT NULL CHECK (status IN ('available', 'reserved', 'used')),
    order_id uuid,
    version bigint NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz,
    UNIQUE (coupon_id, member_id),
    UNIQUE (coupon_id, ordinal),
    CHECK ((status = 'available') = (order_id IS NULL))
);
CREATE INDEX owned_coupon_by_member ON owned_coupon (member_id, id);

-- How each request for a first-come coupon ended: one row a request.
CREATE TABLE coupon_request (
    request_id uuid NOT NULL PRIMARY KEY,
    coupon_id uuid NOT NULL,
    member_id uuid NOT NULL,
    -- Of the request in the event log.
    position bigint NOT NULL CHECK (position >= 0),
    status text NOT NULL CHECK (status IN ('issued', 'sold_out', 'duplicate', 'rejected')),
    owned_coupon_id uuid,
    -- Of the request that won the owned coupon: this one, or an earlier one of the same member.
    won_position bigint,
    reason text,
    requested_at timestamptz NOT NULL,
    handled_at timestamptz NOT NULL,
    CHECK ((status IN ('issued', 'duplicate')) = (owned_coupon_id IS NOT NULL)),
    CHECK ((owned_coupon_id IS NULL) = (won_position IS NULL)),
    CHECK ((status = 'rejected') = (reason IS NOT NULL))
);
CREATE INDEX coupon_request_by_position ON coupon_request (coupon_id, position);
-- At most one request wins for a member.
CREATE UNIQUE INDEX coupon_request_winner ON coupon_request (owned_coupon_id) WHERE status = 'issued';
