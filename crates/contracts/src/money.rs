//! Money: whole minor units, checked arithmetic, decimal strings in JSON. No floats.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The currency of the process: one shop has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency {
    /// ISO 4217.
    pub code: String,
    /// Digits after the point: 0 for KRW, 2 for USD.
    pub decimals: u32,
}

static CURRENCY: OnceLock<Currency> = OnceLock::new();

impl Currency {
    /// The most digits after the point that are taken.
    pub const MAX_DECIMALS: u32 = 4;

    /// Sets the currency of this process, before any money is read or written. Setting the same again is fine.
    ///
    /// # Errors
    /// The currency that was set before, if it is another.
    pub fn set(currency: Currency) -> Result<(), Currency> {
        let set = CURRENCY.get_or_init(|| currency.clone());
        if *set == currency { Ok(()) } else { Err(set.clone()) }
    }

    /// The currency of this process; KRW unless set.
    pub fn get() -> &'static Currency {
        CURRENCY.get_or_init(|| Currency { code: "KRW".into(), decimals: 0 })
    }
}

/// An amount in minor units of the shop's [`Currency`]. In JSON a decimal string: `"19900"`, or `"199.00"` in USD.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::BigInt)]
pub struct Money(i64);

db::column_by!(Money, db::diesel::sql_types::BigInt, i64, |money| money.0, |minor| Ok(Money(minor)));

/// Why a text or a sum is no money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("{0:?} is not a decimal amount")]
    NotDecimal(String),
    /// More digits after the point than the currency has.
    #[error("{0:?} has more than {1} digits after the point")]
    TooPrecise(String, u32),
    /// Over the range of 64 bits.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// From minor units: won, or cents.
    pub const fn from_minor(minor: i64) -> Self {
        Self(minor)
    }

    /// In minor units.
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// Whether it is more than nothing.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// # Errors
    /// [`MoneyError::OutOfRange`]
    pub fn add(self, other: Money) -> Result<Money, MoneyError> {
        self.0.checked_add(other.0).map(Money).ok_or(MoneyError::OutOfRange)
    }

    /// # Errors
    /// [`MoneyError::OutOfRange`]
    pub fn subtract(self, other: Money) -> Result<Money, MoneyError> {
        self.0.checked_sub(other.0).map(Money).ok_or(MoneyError::OutOfRange)
    }

    /// # Errors
    /// [`MoneyError::OutOfRange`]
    pub fn times(self, count: i64) -> Result<Money, MoneyError> {
        self.0.checked_mul(count).map(Money).ok_or(MoneyError::OutOfRange)
    }

    /// So many percent of it, rounded down to the minor unit (a discount is never more than promised).
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`]
    pub fn percent(self, percent: Decimal) -> Result<Money, MoneyError> {
        (Decimal::from(self.0))
            .checked_mul(percent)
            .and_then(|product| product.checked_div(Decimal::ONE_HUNDRED))
            .map(|exact| exact.round_dp_with_strategy(0, RoundingStrategy::ToZero))
            .and_then(|rounded| rounded.to_i64())
            .map(Money)
            .ok_or(MoneyError::OutOfRange)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = Currency::get().decimals;
        if decimals == 0 {
            return self.0.fmt(f);
        }
        Decimal::new(self.0, decimals).fmt(f)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let decimals = Currency::get().decimals;
        let digits = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        if text.is_empty() || !text.chars().all(digits) {
            return Err(MoneyError::NotDecimal(text.into()));
        }
        let amount = Decimal::from_str_exact(text).map_err(|error| match error {
            rust_decimal::Error::ErrorString(_) | rust_decimal::Error::ConversionTo(_) => {
                MoneyError::NotDecimal(text.into())
            }
            _ => MoneyError::OutOfRange,
        })?;
        if amount.normalize().scale() > decimals {
            return Err(MoneyError::TooPrecise(text.into(), decimals));
        }
        let scale = Decimal::from(10_i64.pow(decimals));
        amount.checked_mul(scale).and_then(|minor| minor.to_i64()).map(Money).ok_or(MoneyError::OutOfRange)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
