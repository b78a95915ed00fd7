-- A member's unpaid orders, counted whenever the member places another.
CREATE INDEX orders_unpaid ON orders (member_id) WHERE status = 'pending';
