//! Operations on products and stock.

use contracts::events::{OrderLine, StockDeducted, StockRestored};
use contracts::{OrderId, ProductId};
use db::Tx;

use crate::error::StockError;
use crate::model::{MAX_UNITS, NewProduct, Product, ProductChange, valid_delta, valid_reason};
use crate::store::{self, Adjustment};

/// Inserts a product into the catalogue, on sale, with the initial stock.
///
/// # Errors
/// [`StockError::Database`]
pub fn create(tx: &mut Tx<'_>, new: &NewProduct) -> Result<Product, StockError> {
    let now = tx.now()?;
    let product = new.enter(ProductId::new(), now);
    store::insert_products(tx, std::slice::from_ref(&product))?;
    store::insert_adjustments(tx, &[initial_stock(&product)])?;
    Ok(product)
}

/// Enters many products, as [`create`] does, in a few statements.
///
/// # Errors
/// [`StockError::Database`]
pub fn create_many(tx: &mut Tx<'_>, new: &[NewProduct]) -> Result<Vec<Product>, StockError> {
    let now = tx.now()?;
    let products: Vec<Product> = new.iter().map(|new| new.enter(ProductId::new(), now)).collect();
    let adjustments: Vec<Adjustment<'_>> = products.iter().map(initial_stock).collect();
    store::insert_products(tx, &products)?;
    store::insert_adjustments(tx, &adjustments)?;
    Ok(products)
}

fn initial_stock(product: &Product) -> Adjustment<'static> {
    Adjustment {
        product_id: product.id,
        delta: product.available,
        available: product.available,
        reason: "initial stock",
        adjusted_at: product.created_at,
    }
}

/// Changes a product in the catalogue. Orders keep the name and price of their time.
///
/// # Errors
/// [`StockError::Unknown`]
pub fn change(tx: &mut Tx<'_>, id: ProductId, change: &ProductChange) -> Result<Product, StockError> {
    store::change(tx, id, change)?.ok_or(StockError::Unknown { product: id })
}

/// Receives or writes off units, by hand or from a supplier. Returns the units available afterwards.
///
/// # Errors
/// [`StockError::Insufficient`] when more are written off than are available, [`StockError::TooMany`],
/// [`StockError::Unknown`], [`StockError::Invalid`]
pub fn adjust(tx: &mut Tx<'_>, id: ProductId, delta: i64, reason: &str) -> Result<i64, StockError> {
    valid_delta(delta)?;
    let reason = &valid_reason(reason)?;
    let Some(available) = store::adjust(tx, id, delta)? else {
        let product = store::get(tx, id)?.ok_or(StockError::Unknown { product: id })?;
        return Err(if delta > 0 { StockError::TooMany { product: id } } else { insufficient(product, -delta) });
    };
    let adjusted_at = tx.now()?;
    store::insert_adjustments(tx, &[Adjustment { product_id: id, delta, available, reason, adjusted_at }])?;
    Ok(available)
}

/// Takes the quantity of each product for an order, all or none. Returns the lines with current names and prices.
///
/// Products are taken in the order of ids, so that orders never deadlock.
///
/// # Errors
/// [`StockError::Unknown`], [`StockError::NotOnSale`] or [`StockError::Insufficient`] for the first unavailable
/// product by id.
pub fn reserve(tx: &mut Tx<'_>, order_id: OrderId, wanted: &[(ProductId, i64)]) -> Result<Vec<OrderLine>, StockError> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let mut lines = Vec::with_capacity(wanted.len());
    for (product_id, quantity) in wanted {
        if !(1..=MAX_UNITS).contains(&quantity) {
            return Err(StockError::Invalid { field: "quantity", rule: "must be from 1 to 1000000000" });
        }
        let Some(taken) = store::take(tx, product_id, quantity)? else {
            return Err(why_not_taken(tx, product_id, quantity)?);
        };
        let event = StockDeducted {
            product_id,
            stock_version: taken.version,
            order_id,
            quantity,
            available: taken.available,
            low_stock_threshold: taken.low_stock_threshold,
        };
        messaging::emit(tx, &event)?;
        lines.push(OrderLine { product_id, name: taken.name, price: taken.price, quantity });
    }
    Ok(lines)
}

fn why_not_taken(tx: &mut Tx<'_>, product: ProductId, wanted: i64) -> db::Result<StockError> {
    Ok(match store::get(tx, product)? {
        None => StockError::Unknown { product },
        Some(found) if !found.on_sale => StockError::NotOnSale { product, name: found.name },
        Some(found) => insufficient(found, wanted),
    })
}

fn insufficient(product: Product, wanted: i64) -> StockError {
    StockError::Insufficient { product: product.id, name: product.name, available: product.available, wanted }
}

/// Gives back the units of [`reserve`] for an order, for products on sale or not.
///
/// # Errors
/// [`StockError::Unknown`] if a product is gone; the shop never deletes products.
pub fn restore(tx: &mut Tx<'_>, order_id: OrderId, lines: &[OrderLine]) -> Result<(), StockError> {
    let mut lines: Vec<(ProductId, i64)> = lines.iter().map(|line| (line.product_id, line.quantity)).collect();
    lines.sort_unstable();
    for (product_id, quantity) in lines {
        let (available, stock_version) =
            store::give_back(tx, product_id, quantity)?.ok_or(StockError::Unknown { product: product_id })?;
        messaging::emit(tx, &StockRestored { product_id, stock_version, order_id, quantity, available })?;
    }
    Ok(())
}
