//! Fixed properties of a database: the currency, because amounts are kept in minor units.

use contracts::Currency;
use db::{Database, Tx, on_each};
use diesel::prelude::*;

use crate::error::OpenError;
use crate::settings::CurrencySettings;
use program::settings::SettingError;

diesel::table! {
    shop_setting (name) {
        name -> Text,
        value -> Text,
    }
}

const CURRENCY: &str = "currency";

/// Sets the currency of this process.
///
/// # Errors
/// If the process has another already.
pub(crate) fn set_currency(settings: &CurrencySettings) -> Result<(), SettingError> {
    let currency = settings.currency()?;
    Currency::set(currency.clone()).map_err(|error| refused(&currency, &error.to_string()))
}

/// Writes the currency down in a new database.
///
/// # Errors
/// If the database was made with another.
pub(crate) async fn check_currency(db: &Database) -> Result<(), OpenError> {
    let currency = Currency::get();
    let kept = db.write(move |tx| keep(tx, CURRENCY, &text(currency))).await?;
    if kept == text(currency) {
        return Ok(());
    }
    Err(refused(currency, &format!("the database was made with {kept}, and its amounts stay in it")).into())
}

fn text(Currency { code, decimals }: &Currency) -> String {
    format!("{code} with {decimals} decimals")
}

fn refused(currency: &Currency, reason: &str) -> SettingError {
    SettingError { key: "currency.code".into(), reason: format!("{reason}; got {}", text(currency)) }
}

/// Returns the value under `name`, after storing `value` if absent.
fn keep(tx: &mut Tx<'_>, name: &str, value: &str) -> db::Result<String> {
    let row = (shop_setting::name.eq(name), shop_setting::value.eq(value));
    on_each!(&mut **tx, |conn| {
        diesel::insert_into(shop_setting::table).values(row).on_conflict_do_nothing().execute(conn)
    })?;
    Ok(shop_setting::table.find(name).select(shop_setting::value).first(&mut **tx)?)
}

/// Runs the cheapest query.
pub(crate) fn look(conn: &mut db::Conn) -> db::Result<()> {
    let _: Option<String> = shop_setting::table.find(CURRENCY).select(shop_setting::value).first(conn).optional()?;
    Ok(())
}
