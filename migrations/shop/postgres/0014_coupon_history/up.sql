-- A projection of coupon-issued, coupon-used and coupon-returned: one row an event, under the event's id.
CREATE TABLE coupon_history (
    member_id uuid NOT NULL,
    id uuid NOT NULL,
    owned_coupon_id uuid NOT NULL,
    coupon_id uuid NOT NULL,
    what text NOT NULL CHECK (what IN ('issued', 'used', 'returned')),
    at timestamptz NOT NULL,
    PRIMARY KEY (member_id, id)
);
