//! What a database was made with and keeps: its currency, for amounts are kept in minor units, and its time zone, for
//! figures are kept by day.

use contracts::{Currency, ShopZone};
use db::{Database, Tx, on_each};
use diesel::prelude::*;

use crate::error::OpenError;
use crate::settings::Settings;
use program::settings::SettingError;

diesel::table! {
    shop_setting (name) {
        name -> Text,
        value -> Text,
    }
}

const CURRENCY: &str = "currency";
const TIME_ZONE: &str = "time zone";
const SEARCH_FORM: &str = "search form";
/// Names of the form that [`db::text::search_form`] gives.
const FOLDED: &str = "NFKC, case folded";

/// Sets currency and time zone of this process.
///
/// # Errors
/// When the process has others already.
pub(crate) fn set(settings: &Settings) -> Result<(), SettingError> {
    let (currency, zone) = (settings.currency.currency()?, settings.shop.zone()?);
    Currency::set(currency.clone()).map_err(|error| refused(&currency, &error.to_string()))?;
    ShopZone::set(zone.clone()).map_err(|error| refused_zone(&zone, &error.to_string()))
}

/// Writes currency and time zone down in a new database.
///
/// # Errors
/// When the database was made with others.
pub(crate) async fn check(db: &Database) -> Result<(), OpenError> {
    let (currency, zone) = (Currency::get(), ShopZone::get());
    let kept = move |tx: &mut Tx<'_>| -> db::Result<_> {
        Ok((keep(tx, CURRENCY, &text(currency))?, keep(tx, TIME_ZONE, zone.name())?))
    };
    let (kept, kept_zone) = db.write(kept).await?;
    if kept != text(currency) {
        return Err(refused(currency, &format!("the database was made with {kept}, and its amounts stay in it")).into());
    }
    if kept_zone != zone.name() {
        return Err(refused_zone(zone, &format!("the database was made with {kept_zone}, and its days stay")).into());
    }
    Ok(())
}

fn refused_zone(zone: &ShopZone, reason: &str) -> SettingError {
    SettingError::new("shop.time_zone", format!("{reason}; got {}", zone.name()))
}

fn text(Currency { code, decimals }: &Currency) -> String {
    format!("{code} with {decimals} decimals")
}

fn refused(currency: &Currency, reason: &str) -> SettingError {
    SettingError { key: "currency.code".into(), reason: format!("{reason}; got {}", text(currency)) }
}

/// Brings the names of products into the search form of this version, unless they have this form.
///
/// # Errors
/// Any error of the database.
pub(crate) async fn settle_search_form(db: &Database) -> db::Result<()> {
    db.write(|tx| {
        if keep(tx, SEARCH_FORM, "")? == FOLDED {
            return Ok(());
        }
        let kept = diesel::update(shop_setting::table.find(SEARCH_FORM));
        kept.set(shop_setting::value.eq(FOLDED)).execute(&mut **tx)?;
        stock::renew_search_names(tx)
    })
    .await
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
