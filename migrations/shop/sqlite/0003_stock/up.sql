-- The catalogue, and how much of each product there is.
CREATE TABLE product (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    search_name TEXT NOT NULL, -- the name in lower case, by Unicode: what is searched and sorted
    price INTEGER NOT NULL CHECK (price >= 0), -- minor units
    available INTEGER NOT NULL CHECK (available >= 0), -- neither reserved nor sold
    low_stock_threshold INTEGER NOT NULL CHECK (low_stock_threshold >= 0), -- 0: never ordered anew
    on_sale INTEGER NOT NULL CHECK (on_sale IN (0, 1)),
    version INTEGER NOT NULL CHECK (version >= 1),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX product_by_price ON product (price, id);
CREATE INDEX product_by_name ON product (search_name, id);

-- What came in and what was written off; the first of each product is its initial stock.
CREATE TABLE stock_adjustment (
    product_id BLOB NOT NULL REFERENCES product (id),
    id BLOB NOT NULL CHECK (length(id) = 16),
    delta INTEGER NOT NULL,
    available INTEGER NOT NULL CHECK (available >= 0), -- after it
    reason TEXT NOT NULL,
    adjusted_at INTEGER NOT NULL,
    PRIMARY KEY (product_id, id)
) STRICT, WITHOUT ROWID;
