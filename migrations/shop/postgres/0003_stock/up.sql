-- The catalogue, and how much of each product there is.
CREATE TABLE product (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    search_name text COLLATE "C" NOT NULL, -- the name in lower case, by Unicode: what is searched and sorted
    price bigint NOT NULL CHECK (price >= 0), -- minor units
    available bigint NOT NULL CHECK (available >= 0), -- neither reserved nor sold
    low_stock_threshold bigint NOT NULL CHECK (low_stock_threshold >= 0), -- 0: never ordered anew
    on_sale boolean NOT NULL,
    version bigint NOT NULL CHECK (version >= 1),
    created_at timestamptz NOT NULL
) WITH (fillfactor = 60); -- stock changes all the time: room for the new version of a row beside the old one
CREATE INDEX product_by_price ON product (price, id);
CREATE INDEX product_by_name ON product (search_name, id);

-- What came in and what was written off; the first of each product is its initial stock.
CREATE TABLE stock_adjustment (
    product_id uuid NOT NULL REFERENCES product (id),
    id uuid NOT NULL,
    delta bigint NOT NULL,
    available bigint NOT NULL CHECK (available >= 0), -- after it
    reason text NOT NULL,
    adjusted_at timestamptz NOT NULL,
    PRIMARY KEY (product_id, id)
);
