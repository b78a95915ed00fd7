-- A projection of coupon-issued, coupon-used and coupon-returned: one row an event, under the event's id.
CREATE TABLE coupon_history (
    member_id BLOB NOT NULL,
    id BLOB NOT NULL,
    owned_coupon_id BLOB NOT NULL,
    coupon_id BLOB NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('issued', 'used', 'returned')),
    at INTEGER NOT NULL,
    PRIMARY KEY (member_id, id)
) STRICT, WITHOUT ROWID;
