-- A member's points. The row comes with the first charge.
CREATE TABLE wallet (
    member_id uuid PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance >= 0) -- minor units
) WITH (fillfactor = 80);

-- All that ever changed a balance. A payment is the row of kind 'payment'.
CREATE TABLE wallet_transaction (
    member_id uuid NOT NULL, -- of a wallet
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('charge', 'payment', 'refund')),
    amount bigint NOT NULL CHECK (amount >= 0), -- its sign is its kind's
    balance_after bigint NOT NULL CHECK (balance_after >= 0),
    made_at timestamptz NOT NULL,
    order_id uuid,
    PRIMARY KEY (member_id, id),
    CHECK ((kind = 'charge') = (order_id IS NULL))
);
-- At most one payment, and one refund, an order.
CREATE UNIQUE INDEX wallet_transaction_by_order ON wallet_transaction (order_id, kind) WHERE order_id IS NOT NULL;
