//! Opening a shop, and the error line of a failure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use db::diesel::prelude::*;
use db::diesel::sql_query;
use db::on_each;
use runtime::Shop;
use runtime::settings::Settings;
use tempfile::TempDir;

use crate::hosting::DEADLINE;

pub(crate) fn settings(folder: &Path, url: &str) -> Settings {
    let mut settings = Settings { data_dir: folder.join("data"), ..Settings::default() };
    settings.database.url = Some(url.parse().unwrap());
    settings
}

#[tokio::test]
async fn a_shop_opens_again_with_what_it_made_at_first() {
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let shop = Shop::open(settings(folder.path(), &place.url)).await.unwrap();
        assert!(!folder.path().join("data").exists(), "nobody has asked for anything that is kept there");
        let secret = shop.token_secret().unwrap();
        assert!(secret.expose().len() >= 32);
        let file = folder.path().join("data/token-secret");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("data")).unwrap().count(), 1, "nothing is left aside");
        shop.check_database().await.unwrap();
        shop.close().await;
        assert!(shop.check_database().await.is_err(), "{}: it is closed", place.name);
        drop(shop);

        let again = opened_again(settings(folder.path(), &place.url)).await;
        assert_eq!(again.token_secret().unwrap().expose(), secret.expose());
        again.close().await;
        drop(again);

        let mut set = settings(folder.path(), &place.url);
        set.auth.token_secret = "a secret of several instances, long enough".into();
        let again = opened_again(set).await;
        assert_eq!(again.token_secret().unwrap().expose(), "a secret of several instances, long enough");
        again.close().await;
    }
}

#[tokio::test]
async fn a_database_of_another_currency_or_time_zone_is_refused() {
    let usd = "UPDATE shop_setting SET value = 'USD with 2 decimals' WHERE name = 'currency'";
    let currency = "setting currency.code: the database was made with USD with 2 decimals, and its amounts stay in it; \
                    got KRW with 0 decimals";
    let seoul = "UPDATE shop_setting SET value = 'Asia/Seoul' WHERE name = 'time zone'";
    let zone = "setting shop.time_zone: the database was made with Asia/Seoul, and its days stay; got UTC";
    for (change, told) in [(usd, currency), (seoul, zone)] {
        is_refused_after(change, told).await;
    }
}

#[tokio::test]
async fn names_of_an_earlier_version_are_found_by_the_search_of_this_one() {
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let shop = Shop::open(settings(folder.path(), &place.url)).await.unwrap();
        let earlier = |tx: &mut db::Tx<'_>| -> Result<(), stock::StockError> {
            stock::create(tx, &stock::NewProduct::new("Straße ΟΔΟΣ", contracts::Money::from_minor(1), 1, 0)?)?;
            for change in [
                "UPDATE product SET search_name = 'straße οδος'",
                "DELETE FROM shop_setting WHERE name = 'search form'",
            ] {
                on_each!(&mut **tx, |conn| sql_query(change).execute(conn)).map_err(db::Error::from)?;
            }
            Ok(())
        };
        shop.db.write(earlier).await.unwrap();
        shop.close().await;
        drop(shop);
        let shop = opened_again(settings(folder.path(), &place.url)).await;
        for text in ["STRASSE", "οδοσ"] {
            let query = stock::ProductQuery { text: Some(text.into()), ..Default::default() };
            let found = shop.db.read(move |conn| stock::page(conn, &query, 10)).await.unwrap();
            assert_eq!(found.len(), 1, "{}: {text}", place.name);
        }
        shop.close().await;
    }
}

async fn is_refused_after(change: &'static str, told: &str) {
    for place in testkit::places().await {
        let folder = TempDir::new().unwrap();
        let shop = Shop::open(settings(folder.path(), &place.url)).await.unwrap();
        let changed = shop
            .db
            .write(move |tx| -> db::Result<usize> { Ok(on_each!(&mut **tx, |conn| sql_query(change).execute(conn))?) });
        assert_eq!(changed.await.unwrap(), 1);
        shop.close().await;
        drop(shop);
        let refusal = loop {
            let refusal = refusal(settings(folder.path(), &place.url)).await;
            if !refusal.contains("in use by another process") {
                break refusal;
            }
        };
        assert_eq!(refusal, told);
    }
}

#[tokio::test]
async fn a_sqlite_file_in_use_is_refused_with_the_name_of_the_setting() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let shop = Shop::open(settings(folder.path(), &url)).await.unwrap();
    let refusal = refusal(settings(folder.path(), &url)).await;
    assert!(refusal.starts_with(&format!("setting database.url: {url}: ")), "{refusal}");
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
    shop.close().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_its_password() {
    let folder = TempDir::new().unwrap();
    let refusal = refusal(settings(folder.path(), "postgres://shop:hunter2@127.0.0.1:1/shop")).await;
    assert!(refusal.starts_with("setting database.url: postgres://shop@127.0.0.1:1/shop: "), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
}

#[tokio::test]
async fn a_server_that_is_away_may_come_back_and_one_that_knows_us_not_does_not() {
    let folder = TempDir::new().unwrap();
    let away = Shop::open(settings(folder.path(), "postgres://shop@127.0.0.1:1/shop")).await.err().unwrap();
    assert!(away.may_pass(), "{away}");
    let Some(place) = testkit::places().await.into_iter().find(|place| place.name == "PostgreSQL") else { return };
    let nothing = place.url.replace("jangteo_test_", "no_such_");
    let error = Shop::open(settings(folder.path(), &nothing)).await.err().unwrap();
    assert!(!error.may_pass() && error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("data"), "a file").unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let refusal = refusal(settings(folder.path(), &url)).await;
    assert!(refusal.starts_with("setting data_dir: "), "{refusal}");
}

#[tokio::test]
async fn a_sink_that_is_not_configured_is_named() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let mut settings = settings(folder.path(), &url);
    settings.export.sink = consumers::data_platform::SinkKind::Splunk;
    let refusal = refusal(settings).await;
    assert!(refusal.starts_with("setting export.splunk.token: "), "{refusal}");
}

/// Opens a shop again. The earlier shop's threads may need a moment to release the file.
pub(crate) async fn opened_again(settings: Settings) -> Shop {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match Shop::open(settings.clone()).await {
            Ok(shop) => return shop,
            Err(error) => assert!(error.to_string().contains("in use") && Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn refusal(settings: Settings) -> String {
    match Shop::open(settings).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}
