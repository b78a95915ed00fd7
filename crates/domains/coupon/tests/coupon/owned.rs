//! Coupons in members' hands.

use std::time::Duration;

use contracts::{MemberId, Money, OrderId, OwnedCouponId};
use coupon::{CouponError, NewCoupon, OwnedCoupon, OwnedStatus};
use db::Database;
use db::types::Time;
use diesel::RunQueryDsl;

use crate::given::{asked, campaign, create, issue, owner_of, won};

async fn reserve(
    db: &Database,
    owned: OwnedCouponId,
    member: MemberId,
    order: OrderId,
    total: i64,
) -> Result<Money, CouponError> {
    db.write(move |tx| coupon::reserve(tx, owned, member, order, won(total))).await
}

async fn redeem(db: &Database, owned: OwnedCouponId, order: OrderId) -> Result<(), CouponError> {
    db.write(move |tx| coupon::redeem(tx, owned, order)).await
}

async fn give_back(db: &Database, owned: OwnedCouponId, order: OrderId) -> Result<(), CouponError> {
    db.write(move |tx| coupon::give_back(tx, owned, order)).await
}

async fn coupons_of(db: &Database, member: MemberId) -> Vec<OwnedCoupon> {
    db.read(move |conn| coupon::owned_page(conn, member, None, 10)).await.unwrap()
}

async fn status_of(db: &Database, member: MemberId) -> OwnedStatus {
    coupons_of(db, member).await[0].status
}

/// Expires all coupons of members.
async fn let_all_expire(db: &Database) {
    let past = (Time::now() - Duration::from_secs(1)).micros();
    db.write(move |tx| {
        let time = if tx.is_pg() { format!("to_timestamp({past} / 1000000.0)") } else { past.to_string() };
        diesel::sql_query(format!("UPDATE owned_coupon SET expires_at = {time}")).execute(&mut **tx)?;
        Ok::<_, db::Error>(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_that_want_a_coupon_at_once_one_gets_it() {
    for shop in testkit::databases().await {
        for _ in 0..10 {
            let (member, owned) = owner_of(&shop.db, campaign(1)).await;
            let (a, b) = (OrderId::new(), OrderId::new());
            let (first, second) = futures::future::join(
                reserve(&shop.db, owned, member, a, 5_000),
                reserve(&shop.db, owned, member, b, 5_000),
            )
            .await;
            let (won_it, lost) = if first.is_ok() { (a, second) } else { (b, first) };
            let refusal = lost.expect_err("one of them loses");
            assert!(matches!(refusal, CouponError::NotAvailable { status: OwnedStatus::Reserved }), "{refusal}");
            assert_eq!(coupons_of(&shop.db, member).await[0].order_id, Some(won_it), "{}", shop.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_goes_from_available_to_reserved_to_used_and_back() {
    for shop in testkit::databases().await {
        let (member, owned) = owner_of(&shop.db, campaign(1)).await;
        let order = OrderId::new();
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Available);
        assert_eq!(reserve(&shop.db, owned, member, order, 5_000).await.unwrap(), won(1_000));
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Reserved);
        redeem(&shop.db, owned, order).await.unwrap();
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Used);
        assert!(matches!(redeem(&shop.db, owned, order).await, Err(CouponError::NotHeld)), "used once");
        let again = reserve(&shop.db, owned, member, OrderId::new(), 5_000).await.unwrap_err();
        assert!(matches!(again, CouponError::NotAvailable { status: OwnedStatus::Used }), "{again}");
        give_back(&shop.db, owned, order).await.unwrap();
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Available);
        assert!(reserve(&shop.db, owned, member, OrderId::new(), 5_000).await.is_ok(), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_given_back_once_and_only_by_the_order_that_holds_it() {
    for shop in testkit::databases().await {
        let (member, owned) = owner_of(&shop.db, campaign(1)).await;
        let order = OrderId::new();
        assert!(matches!(give_back(&shop.db, owned, order).await, Err(CouponError::NotHeld)));
        reserve(&shop.db, owned, member, order, 5_000).await.unwrap();
        for refused in [give_back(&shop.db, owned, OrderId::new()).await, redeem(&shop.db, owned, OrderId::new()).await]
        {
            assert!(matches!(refused, Err(CouponError::NotHeld)), "{}", shop.name);
        }
        give_back(&shop.db, owned, order).await.unwrap();
        assert!(matches!(give_back(&shop.db, owned, order).await, Err(CouponError::NotHeld)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_members_coupon_is_not_there() {
    for shop in testkit::databases().await {
        let (member, owned) = owner_of(&shop.db, campaign(1)).await;
        let stranger = MemberId::new();
        for (owned, member) in [(owned, stranger), (OwnedCouponId::new(), member)] {
            let refused = reserve(&shop.db, owned, member, OrderId::new(), 5_000).await.unwrap_err();
            assert!(matches!(refused, CouponError::NotFound), "{refused}");
        }
        assert!(coupons_of(&shop.db, stranger).await.is_empty());
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Available, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_under_the_minimum_leaves_the_coupon_as_it_was() {
    for shop in testkit::databases().await {
        let (member, owned) = owner_of(&shop.db, NewCoupon { min_order: won(5_000), ..campaign(1) }).await;
        let refused = reserve(&shop.db, owned, member, OrderId::new(), 4_999).await.unwrap_err();
        assert!(matches!(refused, CouponError::BelowMinimum { min_order } if min_order == won(5_000)), "{refused}");
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Available);
        assert!(reserve(&shop.db, owned, member, OrderId::new(), 5_000).await.is_ok(), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_can_be_used_for_as_many_days_as_the_campaign_says() {
    for shop in testkit::databases().await {
        let (member, owned) = owner_of(&shop.db, NewCoupon { valid_days: Some(7), ..campaign(1) }).await;
        let mine = &coupons_of(&shop.db, member).await[0];
        assert_eq!(mine.expires_at, Some(mine.issued_at + Duration::from_secs(7 * 24 * 60 * 60)));
        let_all_expire(&shop.db).await;
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Expired);
        let refused = reserve(&shop.db, owned, member, OrderId::new(), 5_000).await.unwrap_err();
        assert!(matches!(refused, CouponError::NotAvailable { status: OwnedStatus::Expired }), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_was_used_in_time_does_not_expire_afterwards() {
    for shop in testkit::databases().await {
        let (member, owned) = owner_of(&shop.db, NewCoupon { valid_days: Some(1), ..campaign(1) }).await;
        let order = OrderId::new();
        reserve(&shop.db, owned, member, order, 5_000).await.unwrap();
        let_all_expire(&shop.db).await;
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Reserved);
        redeem(&shop.db, owned, order).await.unwrap();
        assert_eq!(status_of(&shop.db, member).await, OwnedStatus::Used, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_from_the_newest_to_the_oldest_and_miss_none() {
    for shop in testkit::databases().await {
        let member = MemberId::new();
        let mut ids = Vec::new();
        for n in 0..5 {
            let coupon = create(&shop.db, campaign(1)).await.id;
            let results = issue(&shop.db, vec![(n, asked(coupon, member))]).await;
            ids.push((coupon, results[0].owned_coupon_id.unwrap()));
        }
        ids.reverse();
        let (mut owned, mut campaigns, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = shop.db.read(move |conn| coupon::owned_page(conn, member, after, 2)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            owned.extend(page.iter().map(|mine| (mine.coupon_id, mine.id)));
        }
        assert_eq!(owned, ids, "{}", shop.name);
        let mut after = None;
        loop {
            let page = shop.db.read(move |conn| coupon::page(conn, after, 2)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            campaigns.extend(page.iter().map(|coupon| coupon.id));
        }
        assert_eq!(campaigns, ids.iter().map(|(coupon, _)| *coupon).collect::<Vec<_>>(), "{}", shop.name);
    }
}
