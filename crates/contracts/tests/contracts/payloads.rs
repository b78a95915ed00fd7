//! A golden file for each type and version of event: `tests/golden/<type>.v<version>.json`.
//!
//! A changed payload of the current version fails: give the type a new version and a new file. The files of old
//! versions stay, and must go on being read. A missing file of a current version is written by running the tests with
//! `GOLDEN=write`; one that is there is never overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use contracts::events::*;
use contracts::{Money, topics};
use db::types::Time;
use messaging::DomainEvent;
use uuid::Uuid;

/// Test data of one type of event.
struct Contract {
    kind: &'static str,
    version: i16,
    topic: &'static str,
    /// The payload of the current version.
    payload: String,
    /// Reads a payload of any version; back comes the error.
    read: fn(&str) -> Result<(), String>,
}

fn contract<E: DomainEvent>(sample: &E) -> Contract {
    assert!(!sample.key().is_empty(), "{} has a key", E::TYPE);
    Contract {
        kind: E::TYPE,
        version: E::VERSION,
        topic: E::TOPIC,
        payload: serde_json::to_string(sample).expect("events are JSON"),
        read: |payload| serde_json::from_str::<E>(payload).map(drop).map_err(|e| e.to_string()),
    }
}

/// Returns the n-th id, for any id type.
fn id(n: u16) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(n))
}

fn at(second: i64) -> Time {
    Time::from_micros(1_795_000_000_000_000 + second * 1_000_000 + 123_456).expect("a time")
}

fn lines() -> Vec<OrderLine> {
    let line = |n, name: &str, price, quantity| OrderLine {
        product_id: contracts::ProductId(id(n)),
        name: name.into(),
        price: Money::from_minor(price),
        quantity,
    };
    vec![line(1, "감자 1 kg", 4_900, 2), line(2, "Tea \"green\"", 12_000, 1)]
}

fn order_events() -> Vec<Contract> {
    let (order_id, member_id, payment_id) =
        (contracts::OrderId(id(10)), contracts::MemberId(id(11)), contracts::PaymentId(id(12)));
    let (total, discount, payable) = (Money::from_minor(21_800), Money::from_minor(1_800), Money::from_minor(20_000));
    vec![
        contract(&OrderCreated {
            order_id,
            order_version: 1,
            member_id,
            lines: lines(),
            total,
            discount,
            payable,
            owned_coupon_id: Some(contracts::OwnedCouponId(id(13))),
            created_at: at(0),
            expires_at: at(900),
        }),
        contract(&OrderCancelled {
            order_id,
            order_version: 2,
            member_id,
            reason: CancelReason::Expired,
            lines: lines(),
            cancelled_at: at(901),
        }),
        contract(&PaymentCompleted {
            payment_id,
            order_id,
            order_version: 2,
            member_id,
            lines: lines(),
            total,
            discount,
            amount: payable,
            paid_at: at(60),
        }),
        contract(&PaymentRefunded {
            payment_id,
            order_id,
            order_version: 3,
            member_id,
            lines: lines(),
            amount: payable,
            paid_at: at(60),
            refunded_at: at(120),
        }),
    ]
}

fn stock_events() -> Vec<Contract> {
    let (product_id, order_id) = (contracts::ProductId(id(1)), contracts::OrderId(id(10)));
    vec![
        contract(&StockDeducted {
            product_id,
            stock_version: 7,
            order_id,
            quantity: 2,
            available: 3,
            low_stock_threshold: 5,
        }),
        contract(&StockRestored { product_id, stock_version: 8, order_id, quantity: 2, available: 5 }),
        contract(&StockLow {
            purchase_order_id: contracts::PurchaseOrderId(id(20)),
            product_id,
            stock_version: 7,
            available: 3,
            low_stock_threshold: 5,
            ordered: 7,
        }),
    ]
}

fn incident_events() -> Vec<Contract> {
    let incident_id = contracts::IncidentId(id(50));
    let (kind, key, reason) = ("order.payment-failed".into(), "order-17".into(), Some("카드 만료".into()));
    vec![contract(&IncidentOpened { incident_id, kind, key, reason, occurred_at: at(0) })]
}

fn coupon_events() -> Vec<Contract> {
    let (coupon_id, owned_coupon_id) = (contracts::CouponId(id(30)), contracts::OwnedCouponId(id(13)));
    let (member_id, order_id) = (contracts::MemberId(id(11)), contracts::OrderId(id(10)));
    let request_id = contracts::RequestId(id(31));
    vec![
        contract(&CouponIssueRequested { request_id, coupon_id, member_id, requested_at: at(0) }),
        contract(&CouponIssued {
            owned_coupon_id,
            owned_coupon_version: 1,
            coupon_id,
            coupon_name: "개업 쿠폰".into(),
            member_id,
            request_id,
            ordinal: 42,
            issued_at: at(1),
            expires_at: Some(at(86_401)),
        }),
        contract(&CouponUsed {
            owned_coupon_id,
            owned_coupon_version: 2,
            coupon_id,
            member_id,
            order_id,
            discount: Money::from_minor(1_800),
            used_at: at(2),
        }),
        contract(&CouponReturned {
            owned_coupon_id,
            owned_coupon_version: 3,
            coupon_id,
            member_id,
            order_id,
            returned_at: at(3),
        }),
    ]
}

fn delivery_events() -> Vec<Contract> {
    vec![contract(&DeliveryChanged {
        delivery_id: contracts::DeliveryId(id(40)),
        delivery_version: 3,
        order_id: contracts::OrderId(id(10)),
        member_id: contracts::MemberId(id(11)),
        status: DeliveryStatus::Shipped,
        changed_at: at(200),
    })]
}

fn contracts() -> Vec<Contract> {
    [order_events(), stock_events(), incident_events(), coupon_events(), delivery_events()]
        .into_iter()
        .flatten()
        .collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Returns type, version and payload of each golden file.
fn golden_files() -> BTreeMap<(String, i16), String> {
    let files = fs::read_dir(folder()).expect("the folder of golden files");
    files
        .map(|file| {
            let path = file.expect("a golden file").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name in ASCII");
            let parts = name.strip_suffix(".json").and_then(|stem| stem.rsplit_once(".v"));
            let (kind, version) = parts.unwrap_or_else(|| panic!("{name} is not named <type>.v<version>.json"));
            let version = version.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
            let payload = fs::read_to_string(&path).expect("a readable golden file");
            ((kind.to_owned(), version), payload.trim_end().to_owned())
        })
        .collect()
}

#[test]
fn the_payload_of_every_current_version_is_the_same_to_the_byte() {
    for Contract { kind, version, payload, .. } in contracts() {
        let path = folder().join(format!("{kind}.v{version}.json"));
        if !path.exists() && std::env::var("GOLDEN").is_ok_and(|golden| golden == "write") {
            fs::write(&path, format!("{payload}\n")).expect("the golden file is written");
        }
        let golden = fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{} of version {version} has no golden file: {e}", kind));
        assert_eq!(golden.trim_end(), payload, "{kind} has changed without a new version");
    }
}

#[test]
fn every_version_there_ever_was_can_be_read() {
    let contracts = contracts();
    for ((kind, version), payload) in golden_files() {
        let contract = contracts
            .iter()
            .find(|contract| contract.kind == kind)
            .unwrap_or_else(|| panic!("{kind} is no type of event any more, but logs still hold it"));
        assert!(version <= contract.version, "{kind} has a golden file of version {version} to come");
        if let Err(error) = (contract.read)(&payload) {
            panic!("{kind} of version {version} can no longer be read: {error}");
        }
    }
}

#[test]
fn a_field_that_a_newer_process_adds_is_no_hindrance() {
    for Contract { kind, payload, read, .. } in contracts() {
        let extended = payload.replacen('{', "{\"added_later\":[1],", 1);
        assert_eq!(read(&extended), Ok(()), "{kind}");
    }
}

#[test]
fn every_type_of_event_has_a_sample_here_and_every_version_a_file() {
    let source = include_str!("../../src/events.rs");
    let declared: BTreeSet<&str> =
        source.split("\nevent!(").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect();
    let sampled: BTreeSet<&str> = contracts().iter().map(|contract| contract.kind).collect();
    assert_eq!(declared, sampled);
    let files = golden_files();
    for Contract { kind, version, .. } in contracts() {
        for version in 1..=version {
            assert!(files.contains_key(&(kind.to_owned(), version)), "{kind} of version {version} has no golden file");
        }
    }
}

#[test]
fn every_topic_has_an_event_and_every_event_a_topic() {
    let all: BTreeSet<&str> = topics::ALL.into_iter().collect();
    assert_eq!(all.len(), topics::ALL.len(), "no topic is listed twice");
    let used: BTreeSet<&str> = contracts().iter().map(|contract| contract.topic).collect();
    assert_eq!(all, used);
}
