CREATE TABLE orders (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    member_id BLOB NOT NULL CHECK (length(member_id) = 16),
    status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'cancelled', 'expired', 'refunded')),
    lines TEXT NOT NULL, -- JSON; they never change
    total INTEGER NOT NULL CHECK (total >= 0), -- minor units
    discount INTEGER NOT NULL CHECK (discount >= 0),
    payable INTEGER NOT NULL CHECK (payable >= 0 AND payable = total - discount),
    owned_coupon_id BLOB CHECK (length(owned_coupon_id) = 16),
    version INTEGER NOT NULL CHECK (version >= 1),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    paid_at INTEGER,
    shipped_at INTEGER,
    closed_at INTEGER, -- when it ended without a sale
    CHECK ((paid_at IS NOT NULL) = (status IN ('paid', 'refunded'))),
    CHECK ((closed_at IS NOT NULL) = (status IN ('cancelled', 'expired', 'refunded'))),
    CHECK (shipped_at IS NULL OR status = 'paid')
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_by_member ON orders (member_id, id);
-- What is to expire.
CREATE INDEX orders_by_expiry ON orders (expires_at) WHERE status = 'pending';
