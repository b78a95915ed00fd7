-- A member's points. The row comes with the first charge.
CREATE TABLE wallet (
    member_id BLOB NOT NULL PRIMARY KEY CHECK (length(member_id) = 16),
    balance INTEGER NOT NULL CHECK (balance >= 0) -- minor units
) STRICT, WITHOUT ROWID;

-- All that ever changed a balance. A payment is the row of kind 'payment'.
CREATE TABLE wallet_transaction (
    member_id BLOB NOT NULL CHECK (length(member_id) = 16), -- of a wallet
    id BLOB NOT NULL CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'payment', 'refund')),
    amount INTEGER NOT NULL CHECK (amount >= 0), -- its sign is its kind's
    balance_after INTEGER NOT NULL CHECK (balance_after >= 0),
    made_at INTEGER NOT NULL,
    order_id BLOB CHECK (length(order_id) = 16),
    PRIMARY KEY (member_id, id),
    CHECK ((kind = 'charge') = (order_id IS NULL))
) STRICT, WITHOUT ROWID;
-- At most one payment, and one refund, an order.
CREATE UNIQUE INDEX wallet_transaction_by_order ON wallet_transaction (order_id, kind) WHERE order_id IS NOT NULL;
