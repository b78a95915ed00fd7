//! Discounts of coupons, and valid coupons.

use std::time::Duration;

use contracts::{CouponId, Money};
use coupon::{Availability, CouponError, Discount, NewCoupon};
use db::types::Time;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::given::{campaign, create, won};

fn percent(hundredths: i64, max_discount: Option<i64>) -> Discount {
    Discount::Percent { percent: Decimal::new(hundredths, 2), max_discount: max_discount.map(won) }
}

proptest! {
    #[test]
    fn a_discount_is_never_above_the_total_nor_the_cap_nor_the_promise(
        total in 0..=i64::MAX,
        hundredths in 1..=10_000_i64,
        cap in proptest::option::of(1..=i64::MAX),
        amount in 1..=i64::MAX,
    ) {
        let off = percent(hundredths, cap).of(won(total)).unwrap();
        prop_assert!((Money::ZERO..=won(total)).contains(&off));
        prop_assert!(cap.is_none_or(|cap| off <= won(cap)));
        prop_assert!(i128::from(off.minor()) * 10_000 <= i128::from(total) * i128::from(hundredths));
        let fixed = Discount::Amount(won(amount)).of(won(total)).unwrap();
        prop_assert_eq!(fixed, won(amount.min(total)));
    }
}

#[test]
fn a_percentage_is_rounded_down_and_capped() {
    assert_eq!(percent(1_250, None).of(won(9_999)).unwrap(), won(1_249));
    assert_eq!(percent(1_250, Some(1_000)).of(won(9_999)).unwrap(), won(1_000));
    assert_eq!(percent(10_000, None).of(won(9_999)).unwrap(), won(9_999));
    assert_eq!(percent(1, None).of(won(9_999)).unwrap(), won(0));
}

#[test]
fn a_fixed_discount_never_pays_the_buyer() {
    assert_eq!(Discount::Amount(won(1_000)).of(won(999)).unwrap(), won(999));
    assert_eq!(Discount::Amount(won(1_000)).of(won(1_001)).unwrap(), won(1_000));
}

fn refusals() -> Vec<(&'static str, NewCoupon)> {
    let discounted = |discount| NewCoupon { discount, ..campaign(1) };
    let now = Time::now();
    vec![
        ("discount.percent", discounted(percent(0, None))),
        ("discount.percent", discounted(percent(-1, None))),
        ("discount.percent", discounted(percent(10_001, None))),
        ("discount.percent", discounted(Discount::Percent { percent: Decimal::new(12_345, 3), max_discount: None })),
        ("discount.max_discount", discounted(percent(1_000, Some(0)))),
        ("discount.amount", discounted(Discount::Amount(won(0)))),
        ("discount.amount", discounted(Discount::Amount(won(-1)))),
        ("min_order", NewCoupon { min_order: won(-1), ..campaign(1) }),
        ("quantity", campaign(0)),
        ("quantity", campaign(-1)),
        ("closes_at", NewCoupon { opens_at: Some(now), closes_at: Some(now), ..campaign(1) }),
        ("valid_days", NewCoupon { valid_days: Some(0), ..campaign(1) }),
        ("valid_days", NewCoupon { valid_days: Some(i32::MAX), ..campaign(1) }),
        ("name", NewCoupon { name: " ".into(), ..campaign(1) }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_makes_no_sense_is_refused_by_the_name_of_the_field() {
    for shop in testkit::databases().await {
        for (expected, new) in refusals() {
            let refused = shop.db.write(move |tx| coupon::create(tx, &new)).await.expect_err(expected);
            assert!(
                matches!(refused, CouponError::Invalid { field, .. } if field == expected),
                "{expected}: {refused}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_read_back_as_it_was_made() {
    for shop in testkit::databases().await {
        let (opens_at, closes_at) = (Time::now(), Time::now() + Duration::from_secs(3_600));
        let full = NewCoupon {
            discount: percent(1_250, Some(3_000)),
            min_order: won(10_000),
            opens_at: Some(opens_at),
            closes_at: Some(closes_at),
            valid_days: Some(30),
            ..campaign(i64::MAX)
        };
        for new in [full, campaign(1)] {
            let made = create(&shop.db, new).await;
            let id = made.id;
            let read = shop.db.read(move |conn| coupon::get(conn, id)).await.unwrap();
            assert_eq!(read, Some(made), "{}", shop.name);
        }
        assert_eq!(shop.db.read(|conn| coupon::get(conn, CouponId::new())).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_can_be_closed_early_or_before_it_opens() {
    for shop in testkit::databases().await {
        let opens_at = Time::now() + Duration::from_secs(3_600);
        let coupon = create(&shop.db, NewCoupon { opens_at: Some(opens_at), ..campaign(1) }).await;
        assert_eq!(coupon.availability(Time::now()), Availability::NotYetOpen);
        assert_eq!(coupon.availability(opens_at), Availability::Open);
        let (id, now) = (coupon.id, Time::now());
        let closed = shop.db.write(move |tx| coupon::close_at(tx, id, now)).await.unwrap();
        assert_eq!(closed.availability(opens_at), Availability::Closed, "{}", shop.name);
        let unknown = shop.db.write(move |tx| coupon::close_at(tx, CouponId::new(), now)).await;
        assert!(matches!(unknown, Err(CouponError::NotFound)), "{}", shop.name);
    }
}
