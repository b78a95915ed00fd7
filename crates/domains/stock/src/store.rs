//! The SQL of products and stock.

use std::collections::HashSet;

use contracts::{Money, ProductId};
use db::text::search_form;
use db::types::{Id, Time};
use db::{Conn, MultiBackend, Prepare, on_each};
use diesel::prelude::*;

use crate::model::{Cursor, MAX_UNITS, NewProduct, Product, ProductChange, ProductQuery, Sort, search_pattern};
use crate::schema::{product, stock_adjustment};

/// Rows for each INSERT: the bound values stay below SQLite's limit.
const INSERT_ROWS: usize = 1_000;

type Columns = (
    product::id,
    product::name,
    product::price,
    product::available,
    product::low_stock_threshold,
    product::on_sale,
    product::version,
    product::created_at,
);
const COLUMNS: Columns = (
    product::id,
    product::name,
    product::price,
    product::available,
    product::low_stock_threshold,
    product::on_sale,
    product::version,
    product::created_at,
);

type Row = (ProductId, String, Money, i64, i64, bool, i64, Time);

fn from_row((id, name, price, available, low_stock_threshold, on_sale, version, created_at): Row) -> Product {
    Product { id, name, price, available, low_stock_threshold, on_sale, version, created_at }
}

/// Returns the product, on sale or not.
///
/// # Errors
/// Any error of the database.
pub fn get(conn: &mut Conn, id: ProductId) -> db::Result<Option<Product>> {
    let row = product::table.find(id).select(COLUMNS).first::<Row>(conn).optional()?;
    Ok(row.map(from_row))
}

/// Returns the existing products among `ids`, in no particular order.
///
/// # Errors
/// Any error of the database.
pub fn by_ids(conn: &mut Conn, ids: &[ProductId]) -> db::Result<Vec<Product>> {
    let rows: Vec<Row> = product::table.filter(product::id.eq_any(ids)).select(COLUMNS).load(conn)?;
    Ok(rows.into_iter().map(from_row).collect())
}

/// Returns at most `limit` products behind the query's cursor.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, query: &ProductQuery, limit: i64) -> db::Result<Vec<Product>> {
    let mut select = product::table.select(COLUMNS).into_boxed::<MultiBackend>();
    if let Some(text) = query.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        let Some(pattern) = search_pattern(text) else { return Ok(Vec::new()) };
        select = select.filter(product::search_name.like(pattern).escape('\\'));
    }
    if query.after.as_ref().is_some_and(|cursor| !cursor.fits(query.sort)) {
        return Ok(Vec::new());
    }
    // `price >= p AND (price > p OR id > i)` rather than the plain OR, so that the index is entered at the cursor
    select = match query.after.clone() {
        None => select,
        Some(Cursor::Newest(id)) => select.filter(product::id.lt(id)),
        Some(Cursor::PriceAsc(price, id)) => {
            select.filter(product::price.ge(price).and(product::price.gt(price).or(product::id.gt(id))))
        }
        Some(Cursor::PriceDesc(price, id)) => {
            select.filter(product::price.le(price).and(product::price.lt(price).or(product::id.lt(id))))
        }
        Some(Cursor::Name(name, id)) => {
            let later = product::search_name.gt(name.clone()).or(product::id.gt(id));
            select.filter(product::search_name.ge(name).and(later))
        }
    };
    select = match query.sort {
        Sort::Newest => select.order(product::id.desc()),
        Sort::PriceAsc => select.order((product::price.asc(), product::id.asc())),
        Sort::PriceDesc => select.order((product::price.desc(), product::id.desc())),
        Sort::Name => select.order((product::search_name.asc(), product::id.asc())),
    };
    let rows: Vec<Row> = select.limit(limit).load(conn)?;
    Ok(rows.into_iter().map(from_row).collect())
}

pub(crate) fn insert_products(conn: &mut Conn, products: &[Product]) -> db::Result<()> {
    for chunk in products.chunks(INSERT_ROWS) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|new| {
                (
                    product::id.eq(new.id),
                    product::name.eq(&new.name),
                    product::search_name.eq(search_form(&new.name)),
                    product::price.eq(new.price),
                    product::available.eq(new.available),
                    product::low_stock_threshold.eq(new.low_stock_threshold),
                    product::on_sale.eq(new.on_sale),
                    product::version.eq(new.version),
                    product::created_at.eq(new.created_at),
                )
            })
            .collect();
        on_each!(conn, |c| diesel::insert_into(product::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Those of `new` whose names, in the search form, are in the catalogue already, by their places.
///
/// # Errors
/// Any error of the database.
pub fn taken_names(conn: &mut Conn, new: &[NewProduct]) -> db::Result<Vec<usize>> {
    let names: Vec<String> = new.iter().map(NewProduct::search_name).collect();
    let taken: Vec<String> =
        product::table.filter(product::search_name.eq_any(&names)).select(product::search_name).load(conn)?;
    let taken: HashSet<String> = taken.into_iter().collect();
    Ok((0..names.len()).filter(|at| taken.contains(&names[*at])).collect())
}

/// Brings the names of all products into the search form, where an earlier version kept another one.
///
/// # Errors
/// Any error of the database.
pub fn renew_search_names(conn: &mut Conn) -> db::Result<()> {
    let names: Vec<(ProductId, String, String)> =
        product::table.select((product::id, product::name, product::search_name)).load(conn)?;
    for (id, name, kept) in names {
        let form = search_form(&name);
        if form != kept {
            diesel::update(product::table.find(id)).set(product::search_name.eq(form)).execute(conn)?;
        }
    }
    Ok(())
}

/// A row for received or written-off units.
pub(crate) struct Adjustment<'a> {
    pub(crate) product_id: ProductId,
    pub(crate) delta: i64,
    /// Units available after the adjustment.
    pub(crate) available: i64,
    pub(crate) reason: &'a str,
    pub(crate) adjusted_at: Time,
}

pub(crate) fn insert_adjustments(conn: &mut Conn, adjustments: &[Adjustment<'_>]) -> db::Result<()> {
    for chunk in adjustments.chunks(INSERT_ROWS) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|new| {
                (
                    stock_adjustment::product_id.eq(new.product_id),
                    stock_adjustment::id.eq(Id::new()),
                    stock_adjustment::delta.eq(new.delta),
                    stock_adjustment::available.eq(new.available),
                    stock_adjustment::reason.eq(new.reason),
                    stock_adjustment::adjusted_at.eq(new.adjusted_at),
                )
            })
            .collect();
        on_each!(conn, |c| diesel::insert_into(stock_adjustment::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Changes a product. Returns `None` for an unknown product.
pub(crate) fn change(conn: &mut Conn, id: ProductId, change: &ProductChange) -> db::Result<Option<Product>> {
    let row: Option<Row> = diesel::update(product::table.find(id))
        .set((
            change.name.as_ref().map(|name| product::name.eq(name)),
            change.name.as_ref().map(|name| product::search_name.eq(search_form(name))),
            change.price.map(|price| product::price.eq(price)),
            change.low_stock_threshold.map(|units| product::low_stock_threshold.eq(units)),
            change.on_sale.map(|on_sale| product::on_sale.eq(on_sale)),
            product::version.eq(product::version + 1),
        ))
        .returning(COLUMNS)
        .get_result(conn)
        .optional()?;
    Ok(row.map(from_row))
}

/// Adjusts the stock and returns the units available; `None` if the product is unknown, or the stock would be below
/// zero or over [`MAX_UNITS`].
pub(crate) fn adjust(conn: &mut Conn, id: ProductId, delta: i64) -> db::Result<Option<i64>> {
    // units that come back from orders may bring it over the limit: then it can still be written off
    let (least, most) = if delta < 0 { (-delta, i64::MAX) } else { (0, MAX_UNITS - delta) };
    Ok(diesel::update(product::table.find(id))
        .filter(product::available.between(least, most))
        .set((product::available.eq(product::available + delta), product::version.eq(product::version + 1)))
        .returning(product::available)
        .get_result(conn)
        .optional()?)
}

/// A product after taking units.
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) price: Money,
    pub(crate) available: i64,
    pub(crate) low_stock_threshold: i64,
    pub(crate) version: i64,
}

/// Takes units. Returns `None` if the product is unknown, not on sale, or has fewer than `quantity` units available.
pub(crate) fn take(conn: &mut Conn, id: ProductId, quantity: i64) -> db::Result<Option<Taken>> {
    let update = diesel::update(product::table.find(id))
        .filter(product::on_sale.eq(true))
        .filter(product::available.ge(quantity))
        .set((product::available.eq(product::available - quantity), product::version.eq(product::version + 1)))
        .returning((product::name, product::price, product::available, product::low_stock_threshold, product::version))
        .prepared();
    let row: Option<(String, Money, i64, i64, i64)> = on_each!(conn, |c| update.get_result(c)).optional()?;
    Ok(row.map(|(name, price, available, low_stock_threshold, version)| Taken {
        name,
        price,
        available,
        low_stock_threshold,
        version,
    }))
}

/// Gives units back. Returns the available units and the row's version; `None` for an unknown product.
pub(crate) fn give_back(conn: &mut Conn, id: ProductId, quantity: i64) -> db::Result<Option<(i64, i64)>> {
    Ok(diesel::update(product::table.find(id))
        .set((product::available.eq(product::available + quantity), product::version.eq(product::version + 1)))
        .returning((product::available, product::version))
        .get_result(conn)
        .optional()?)
}

/// Stock of a product and the books of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockBalance {
    pub product_id: ProductId,
    /// The initial stock and all adjustments.
    pub received: i64,
    /// Units neither reserved nor sold.
    pub available: i64,
}

/// Returns stock and books of each product, by id: orders hold `received - available` units.
///
/// Reads everything; for tests and audits.
///
/// # Errors
/// Any error of the database.
pub fn balances(conn: &mut Conn) -> db::Result<Vec<StockBalance>> {
    use diesel::dsl::sql;
    use diesel::sql_types::BigInt;

    let rows: Vec<(ProductId, i64, i64)> = product::table
        .inner_join(stock_adjustment::table.on(stock_adjustment::product_id.eq(product::id)))
        .group_by((product::id, product::available))
        .select((product::id, sql::<BigInt>("CAST(sum(stock_adjustment.delta) AS bigint)"), product::available))
        .order(product::id)
        .load(conn)?;
    Ok(rows
        .into_iter()
        .map(|(product_id, received, available)| StockBalance { product_id, received, available })
        .collect())
}
