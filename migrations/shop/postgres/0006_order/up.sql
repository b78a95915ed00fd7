CREATE TABLE orders (
    id uuid PRIMARY KEY,
    member_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'paid', 'cancelled', 'expired', 'refunded')),
    lines json NOT NULL, -- they never change
    total bigint NOT NULL CHECK (total >= 0), -- minor units
    discount bigint NOT NULL CHECK (discount >= 0),
    payable bigint NOT NULL CHECK (payable >= 0 AND payable = total - discount),
    owned_coupon_id uuid,
    version bigint NOT NULL CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    paid_at timestamptz,
    shipped_at timestamptz,
    closed_at timestamptz, -- when it ended without a sale
    CHECK ((paid_at IS NOT NULL) = (status IN ('paid', 'refunded'))),
    CHECK ((closed_at IS NOT NULL) = (status IN ('cancelled', 'expired', 'refunded'))),
    CHECK (shipped_at IS NULL OR status = 'paid')
);
CREATE INDEX orders_by_member ON orders (member_id, id);
-- What is to expire.
CREATE INDEX orders_by_expiry ON orders (expires_at) WHERE status = 'pending';
