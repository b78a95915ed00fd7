//! Money: whole minor units, checked arithmetic, decimal strings in JSON. No floats.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The currency of the process: a shop has one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency {
    /// ISO 4217.
    pub code: String,
    /// Digits after the point: 0 for KRW, 2 for USD.
    pub decimals: u32,
}

static CURRENCY: OnceLock<Currency> = OnceLock::new();

/// Refusal to set a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CurrencyError {
    /// The process already uses another currency.
    #[error("the currency of this process is already {} with {} digits after the point", .0.code, .0.decimals)]
    AlreadySet(Currency),
    /// The currency has more than [`Currency::MAX_DECIMALS`] digits.
    #[error("a currency has at most {max} digits after the point, not {0}", max = Currency::MAX_DECIMALS)]
    TooManyDecimals(u32),
}

impl Currency {
    /// Maximum number of digits after the point.
    pub const MAX_DECIMALS: u32 = 4;

    /// Sets the currency of this process, before any money is read or written. Setting the same again is fine.
    ///
    /// # Errors
    /// As [`CurrencyError`] says.
    pub fn set(currency: Currency) -> Result<(), CurrencyError> {
        if currency.decimals > Self::MAX_DECIMALS {
            return Err(CurrencyError::TooManyDecimals(currency.decimals));
        }
        let set = CURRENCY.get_or_init(|| currency.clone());
        if *set == currency { Ok(()) } else { Err(CurrencyError::AlreadySet(set.clone())) }
    }

    /// Returns the currency of this process; KRW by default.
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

/// Refusal of a text or a sum as money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a decimal number.
    #[error("{0:?} is not a decimal amount")]
    NotDecimal(String),
    /// The text has more digits after the point than the currency.
    #[error("{0:?} has more than {1} digits after the point")]
    TooPrecise(String, u32),
    /// The amount exceeds the range of 64 bits.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Money {
    /// Zero.
    pub const ZERO: Money = Money(0);

    /// Returns an amount from minor units: won, or cents.
    pub const fn from_minor(minor: i64) -> Self {
        Self(minor)
    }

    /// Returns the amount in minor units.
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// Returns true if the amount is above zero.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// # Errors
    /// [`MoneyError::OutOfRange`]
    #[allow(clippy::should_implement_trait)] // the operator has no place for the error
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

    /// Returns this percentage of the amount, rounded down to the minor unit: a discount never exceeds the promise.
    ///
    /// In whole numbers: a product of two [`Decimal`]s may be rounded, and then up.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`]
    pub fn percent(self, percent: Decimal) -> Result<Money, MoneyError> {
        let percent = percent.normalize();
        let product = i128::from(self.0).checked_mul(percent.mantissa()).ok_or(MoneyError::OutOfRange)?;
        // fits: a Decimal has at most 28 digits after the point, and 10^30 is less than 2^127
        let divisor = 10_i128.pow(percent.scale() + 2);
        i64::try_from(product.div_euclid(divisor)).map(Money).map_err(|_| MoneyError::OutOfRange)
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
        let not_decimal = || MoneyError::NotDecimal(text.into());
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(w, f)| (w, Some(f)));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || fraction.is_some_and(|fraction| !is_number(fraction)) {
            return Err(not_decimal());
        }
        // zeros count: 20.000 may mean twenty thousand where it was written
        let fraction = fraction.unwrap_or_default();
        if fraction.len() > decimals as usize {
            return Err(MoneyError::TooPrecise(text.into(), decimals));
        }
        let padding = (fraction.len()..decimals as usize).map(|_| b'0');
        let minor = whole.bytes().chain(fraction.bytes()).chain(padding).try_fold(0_i64, |minor, digit| {
            // counted downwards, because the least amount is one further from nothing than the greatest
            minor.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))
        });
        let minor = if negative { minor } else { minor.and_then(i64::checked_neg) };
        minor.map(Money).ok_or(MoneyError::OutOfRange)
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
