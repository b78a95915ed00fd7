//! Refusals of the program `shop` before the start, and files on disk.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::binary::{Binary, admin, said, shopper};
use crate::support::{ADMIN, eventually};

/// Returns `folder` and every file and folder below, with permissions.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut all = vec![(folder.to_owned(), mode(folder))];
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => all.extend(modes(&path)),
            false => all.push((path.clone(), mode(&path))),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_shop_writes_is_its_owners_alone() {
    let mut shop = Binary::new(&[("SHOP__ADMIN__PASSWORD", ADMIN.1)]);
    let api = shop.start().await;
    let product = json!({ "name": "Mug", "price": "500", "stock": 10 });
    let product = admin(&api).await.post("/products", product).send().await.expect(201).text("id");
    shopper(&api, "500").await.order(&product, 1).send().await.expect(201);
    let data = shop.folder.path().join("data");
    let exported = || modes(&data).iter().any(|(path, _)| path.extension().is_some_and(|kind| kind == "ndjson"));
    eventually("the order is exported", async || exported().then_some(())).await;
    for (path, mode) in modes(&data) {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert!(!shop.log().contains("can enter data_dir"), "{}", shop.log());
    assert_eq!(shop.terminate().await, Some(0));

    std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    shop.start().await;
    assert!(shop.log().contains("other users of this machine can enter data_dir"), "{}", shop.log());
    assert_eq!(shop.terminate().await, Some(0));
}

#[test]
fn check_config_refuses_what_the_start_refuses() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let nothing = empty.path().to_str().unwrap();
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "no database").unwrap();
    let no_database = format!("sqlite:{}", text.path().display());
    for bad in [
        &[("SHOP__EXPORT__SINK", "http")][..],
        &[("SHOP__EXPORT__SINK", "splunk"), ("SHOP__EXPORT__SPLUNK__URL", "ftp://splunk")],
        &[("SHOP__NOTIFICATION__WEBHOOK__URL", "http://localhost")],
        &[("SHOP__NOTIFICATION__EMAIL__HOST", "localhost"), ("SHOP__NOTIFICATION__EMAIL__FROM", ".a@example.com")],
        &[("SHOP__NOTIFICATION__EMAIL__HOST", "localhost"), ("SHOP__NOTIFICATION__EMAIL__CA_FILE", "/no/such/file")],
        &[("SHOP__NOTIFICATION__EMAIL__HOST", "localhost"), ("SHOP__NOTIFICATION__EMAIL__TIMEOUT", "0s")],
        &[("SHOP__EVENT_PROXY__URL", "http://localhost"), ("SHOP__EVENT_PROXY__CA_FILE", "/no/such/file")],
        &[("SHOP__NOTIFICATION__EMAIL__HOST", "localhost"), ("SHOP__NOTIFICATION__EMAIL__PORT", "0")],
        &[("SHOP__HTTP__CORS_ORIGINS", "https://a%b")],
        &[("SHOP__HTTP__SHUTDOWN_TIMEOUT", "101years")],
        &[("SHOP__TELEMETRY__OTLP__ENDPOINT", "no url")],
        &[("SHOP__TELEMETRY__OTLP__ENDPOINT", "http://localhost:99999")],
        &[("SHOP__TELEMETRY__OTLP__ENDPOINT", "ftp://localhost")],
        &[("SHOP__DATABASE__URL", "sqlite::memory:")],
        &[("SHOP__DATABASE__URL", "sqlite:.")],
        &[("SHOP__DATABASE__URL", "sqlite:/dev/null")],
        &[("SHOP__DATABASE__URL", "sqlite:none/")],
        &[("SHOP__DATABASE__URL", "postgres://shop@/shop")],
        &[("SHOP__DATABASE__URL", "sqlite:/proc/none/shop.db")],
        &[("SHOP__DATABASE__URL", &no_database)],
        &[("SHOP__DATABASE__URL", "postgres://localhost:port/shop")],
        &[("SHOP__DATABASE__URL", "postgres://localhost:99999/shop")],
        &[("SHOP__DATABASE__URL", "postgres://shop:pass%zz@localhost/shop")],
        &[("SHOP__DATABASE__URL", "postgres://localhost/%zz")],
        &[("SHOP__DATABASE__URL", "postgres://localhost:0/shop")],
        &[("SHOP__DATABASE__URL", "postgres://localhost/shop?port=99999")],
        &[("SHOP__DATABASE__URL", "postgres://localhost/shop?no_such=1")],
        &[("SHOP__DATABASE__URL", "postgres://localhost/shop?")],
        &[("SHOP__DATABASE__URL", "postgres://localhost/shop?hostaddr=localhost")],
        &[("SHOP__DATABASE__URL", "postgres://localhost/shop?sslmode=verify-full")],
        &[("SHOP__HTTP__ADDRESS", "256.1.1.1:0")],
        &[("SHOP__HTTP__ADDRESS", "192.0.2.1:0")],
        &[("SHOP__HTTP__LIMITS__HEAD_TIMEOUT", "1ns")],
        &[("SHOP__HTTP__LIMITS__BODY_TIMEOUT", "99ms")],
        &[("SHOP__HTTP__WORKERS", "513")],
        &[("SHOP__BUS__BACKEND", "kafka")],
        &[
            ("SHOP__BUS__BACKEND", "kafka"),
            ("SHOP__BUS__KAFKA__BOOTSTRAP_SERVERS", "localhost:1"),
            ("SHOP__BUS__KAFKA__PROPERTIES__NO_SUCH", "1"),
        ],
        &[("SHOP__DATA_DIR", nothing)],
        &[("SHOP__DATA_DIR", "/proc/none")],
        &[("SHOP__DATA_DIR", "/proc/none"), ("SHOP__DATABASE__URL", "sqlite:shop.db")],
    ] {
        let shop = Binary::new(bad);
        let (code, checked) = said(&shop.run(&["check-config"]));
        assert!(code == Some(2) && checked.lines().count() == 1, "{bad:?}: {checked}");
        assert!(!checked.contains("pass%zz"), "{checked}");
        assert_eq!(said(&shop.run(&[])), (code, checked), "{bad:?}");
        assert!(!shop.folder.path().join("data").exists(), "{bad:?}");
    }
    let shop = Binary::new(&[]);
    std::fs::create_dir(shop.data()).unwrap();
    std::fs::write(shop.data().join("exports"), "in the way").unwrap();
    let (code, checked) = said(&shop.run(&["check-config"]));
    assert!(code == Some(2) && checked.contains("exports"), "{checked}");
    assert_eq!(said(&shop.run(&[])), (code, checked));
    std::fs::remove_dir_all(shop.data()).unwrap();
    assert_eq!(shop.run(&["check-config"]).stdout, b"the settings are good\n");
    let _taken = std::net::TcpListener::bind(shop.address).unwrap();
    for good in [
        "postgres://u:p@localhost/shop?hostaddr=127.0.0.1",
        "postgres://a:1,b:2/shop?sslmode=disable",
        "postgres://u@[::1]:5/shop",
    ] {
        let beside = Binary::new(&[("SHOP__HTTP__ADDRESS", &shop.address.to_string()), ("SHOP__DATABASE__URL", good)]);
        let checked = beside.run(&["check-config"]);
        assert_eq!(checked.stdout, b"the settings are good\n", "{good}: {checked:?}");
    }
    assert!(!shop.folder.path().join("data").exists());
}
