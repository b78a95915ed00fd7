//! Products, queries and changes.

use contracts::{Money, ProductId};
use db::text::{Line, search_form};
use db::types::Time;
use serde::{Deserialize, Serialize};

use crate::error::StockError;

/// Rule for the name of a product.
pub const NAME: Line = Line::new(200, "must have 1 to 200 characters");
/// Rule for the reason of an adjustment.
pub const REASON: Line = Line::new(200, "must have 1 to 200 characters");
/// Highest price of one unit. With this price the total of the largest order stays within 64 bits.
pub const MAX_PRICE: Money = Money::from_minor(1_000_000_000_000);
/// Maximum number of units of one product, and of one adjustment.
pub const MAX_UNITS: i64 = 1_000_000_000;

/// Current state of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub name: String,
    /// Price of one unit.
    pub price: Money,
    /// Units neither reserved nor sold.
    pub available: i64,
    /// The product is to be ordered anew when fewer units than this are available; 0 is never.
    pub low_stock_threshold: i64,
    pub on_sale: bool,
    /// Grows with every change of the row; the aggregate version of the stock's events.
    pub version: i64,
    pub created_at: Time,
}

impl Product {
    /// Returns the cursor of a page with this product as the last entry, sorted by `sort`.
    pub fn cursor(&self, sort: Sort) -> Cursor {
        match sort {
            Sort::Newest => Cursor::Newest(self.id),
            Sort::PriceAsc => Cursor::PriceAsc(self.price.minor(), self.id),
            Sort::PriceDesc => Cursor::PriceDesc(self.price.minor(), self.id),
            Sort::Name => Cursor::Name(search_form(&self.name), self.id),
        }
    }
}

/// A product before insertion, with valid values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProduct {
    name: String,
    price: Money,
    stock: i64,
    low_stock_threshold: i64,
}

impl NewProduct {
    /// Checks the values. `name` is trimmed; `price` is for one unit; `stock` and `low_stock_threshold` are units.
    ///
    /// # Errors
    /// [`StockError::Invalid`]
    pub fn new(name: &str, price: Money, stock: i64, low_stock_threshold: i64) -> Result<Self, StockError> {
        Ok(Self {
            name: valid_name(name)?,
            price: valid_price(price)?,
            stock: valid_units("stock", stock)?,
            low_stock_threshold: valid_units("low_stock_threshold", low_stock_threshold)?,
        })
    }

    /// The name in its search form: two products of an import never share one.
    pub fn search_name(&self) -> String {
        search_form(&self.name)
    }

    /// Returns the product as inserted.
    pub(crate) fn enter(&self, id: ProductId, now: Time) -> Product {
        Product {
            id,
            name: self.name.clone(),
            price: self.price,
            available: self.stock,
            low_stock_threshold: self.low_stock_threshold,
            on_sale: true,
            version: 1,
            created_at: now,
        }
    }
}

/// Changes of a product; `None` keeps the value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductChange {
    pub(crate) name: Option<String>,
    pub(crate) price: Option<Money>,
    pub(crate) low_stock_threshold: Option<i64>,
    pub(crate) on_sale: Option<bool>,
}

impl ProductChange {
    /// Checks the values like [`NewProduct::new`].
    ///
    /// # Errors
    /// [`StockError::Invalid`]
    pub fn new(
        name: Option<&str>,
        price: Option<Money>,
        low_stock_threshold: Option<i64>,
        on_sale: Option<bool>,
    ) -> Result<Self, StockError> {
        Ok(Self {
            name: name.map(valid_name).transpose()?,
            price: price.map(valid_price).transpose()?,
            low_stock_threshold: low_stock_threshold
                .map(|units| valid_units("low_stock_threshold", units))
                .transpose()?,
            on_sale,
        })
    }

    /// Returns a change that takes a product off sale, or puts the product back.
    pub fn on_sale(on_sale: bool) -> Self {
        Self { on_sale: Some(on_sale), ..Self::default() }
    }
}

/// Selection and order of listed products.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductQuery {
    /// Part of the name; compared in its search form.
    pub text: Option<String>,
    pub sort: Sort,
    /// Cursor of the previous page; a cursor that does not [fit](Cursor::fits) `sort` gives an empty page.
    pub after: Option<Cursor>,
}

/// Order of a list of products; equal products are sorted by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    Newest,
    PriceAsc,
    PriceDesc,
    /// By the name in its search form, in the order of Unicode.
    Name,
}

/// Sort key of a page's last product: the next page starts behind the key, whatever changes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cursor {
    Newest(ProductId),
    /// Minor units.
    PriceAsc(i64, ProductId),
    /// Minor units.
    PriceDesc(i64, ProductId),
    /// In its search form.
    Name(String, ProductId),
}

impl Cursor {
    /// Returns true if the cursor is from a page sorted by `sort`.
    pub fn fits(&self, sort: Sort) -> bool {
        sort == match self {
            Self::Newest(..) => Sort::Newest,
            Self::PriceAsc(..) => Sort::PriceAsc,
            Self::PriceDesc(..) => Sort::PriceDesc,
            Self::Name(..) => Sort::Name,
        }
    }
}

/// Characters of the search form of a name, at the most: a ligature has up to 18.
const MAX_SEARCH_CHARS: usize = 200 * 18;

/// Returns the LIKE pattern, with the escape `\`, of names that contain `text`; `None` if no name can.
pub(crate) fn search_pattern(text: &str) -> Option<String> {
    let form = search_form(text);
    if form.contains('\0') || form.chars().count() > MAX_SEARCH_CHARS {
        return None;
    }
    let mut pattern = String::from("%");
    for letter in form.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    Some(pattern)
}

fn valid_name(name: &str) -> Result<String, StockError> {
    NAME.kept(name).map_err(|rule| StockError::Invalid { field: "name", rule })
}

fn valid_price(price: Money) -> Result<Money, StockError> {
    if price < Money::ZERO || price > MAX_PRICE {
        return Err(StockError::Invalid { field: "price", rule: "must be from 0 to 1000000000000 minor units" });
    }
    Ok(price)
}

fn valid_units(field: &'static str, units: i64) -> Result<i64, StockError> {
    if !(0..=MAX_UNITS).contains(&units) {
        return Err(StockError::Invalid { field, rule: "must be from 0 to 1000000000" });
    }
    Ok(units)
}

pub(crate) fn valid_delta(delta: i64) -> Result<(), StockError> {
    if delta == 0 || !(-MAX_UNITS..=MAX_UNITS).contains(&delta) {
        return Err(StockError::Invalid { field: "delta", rule: "must be from -1000000000 to 1000000000, and not 0" });
    }
    Ok(())
}

pub(crate) fn valid_reason(reason: &str) -> Result<String, StockError> {
    REASON.kept(reason).map_err(|rule| StockError::Invalid { field: "reason", rule })
}
