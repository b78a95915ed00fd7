use std::time::Duration;

use consumers::analytics::{CouponDay, CouponFigures, Popular, SalesDay, coupons, group, popular, purge, sales};
use contracts::events::CouponIssued;
use contracts::{CouponId, MemberId, Money, OwnedCouponId, ProductId, RequestId};
use db::types::Time;
use messaging::Event;

use super::given::{Given, Purchase, databases, date, event, permutations, time, won};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// All figures of the projection.
type Figures = (Vec<Popular>, Vec<SalesDay>, Vec<CouponFigures>);

async fn figures(given: &Given, now: Time) -> Figures {
    given.read(move |conn| Ok((popular(conn, now, 0, 5)?, sales(conn)?, coupons(conn)?))).await
}

async fn best(given: &Given, now: Time, limit: i64) -> Vec<Popular> {
    given.read(move |conn| popular(conn, now, 0, limit)).await
}

fn issued(coupon_id: CouponId, at: Time) -> Event {
    event(&CouponIssued {
        owned_coupon_id: OwnedCouponId::new(),
        owned_coupon_version: 1,
        coupon_id,
        coupon_name: "spring".into(),
        member_id: MemberId::new(),
        request_id: RequestId::new(),
        ordinal: 1,
        issued_at: at,
        expires_at: None,
    })
}

#[tokio::test]
async fn popular_are_those_of_which_most_was_paid_for_in_the_last_three_days() {
    let now = time("2026-03-10T12:30:00Z");
    let [old, tea, rice] = [ProductId::new(), ProductId::new(), ProductId::new()];
    for given in databases().await {
        let batch = vec![
            // 12:30 three days ago is in, with the rest of its hour; 11:59 is not
            Purchase::of(old, 100, 1).paid(time("2026-03-07T11:59:59Z")),
            Purchase::of(tea, 2, 1).paid(time("2026-03-07T12:30:00Z")),
            Purchase::of(rice, 3, 1).paid(now),
            Purchase::of(tea, 2, 1).paid(now),
            // placed, but not paid for
            Purchase::of(rice, 50, 1).created(now),
        ];
        given.handle(group(), batch).await;
        let sold = |product_id, sold| Popular { product_id, sold };
        assert_eq!(best(&given, now, 5).await, [sold(tea, 4), sold(rice, 3)], "{}", given.name);
        assert_eq!(best(&given, now, 1).await, [sold(tea, 4)], "{}", given.name);
        assert_eq!(best(&given, now + 24 * HOUR, 5).await, [sold(rice, 3), sold(tea, 2)], "{}", given.name);
    }
}

#[tokio::test]
async fn what_was_refunded_is_not_popular() {
    let (paid, refunded) = (time("2026-03-10T12:30:00Z"), time("2026-03-12T12:30:00Z"));
    for given in databases().await {
        let purchase = Purchase::of(ProductId::new(), 5, 100);
        given.handle(group(), vec![purchase.paid(paid)]).await;
        given.handle(group(), vec![purchase.refunded(paid, refunded)]).await;
        assert_eq!(best(&given, refunded, 5).await, [], "{}", given.name);
        // when the sale is out of the window, its refund must not weigh on other sales
        assert_eq!(best(&given, paid + 73 * HOUR, 5).await, [], "{}", given.name);
    }
}

/// Returns the events of an order with each outcome, and of a coupon.
fn events(tea: ProductId, spring: CouponId) -> Vec<Event> {
    let (first, second) = (time("2026-03-01T23:30:00Z"), time("2026-03-02T00:30:00Z"));
    let kept = Purchase::of(tea, 3, 1_000).discounted(500);
    let given_back = Purchase::of(tea, 2, 1_000);
    vec![
        kept.created(first),
        kept.paid(second),
        given_back.paid(first),
        given_back.refunded(first, second),
        issued(spring, first),
    ]
}

fn expected(tea: ProductId, spring: CouponId) -> Figures {
    let day = |date, orders, paid, revenue, refunds, refunded| SalesDay {
        date,
        orders,
        paid,
        revenue: won(revenue),
        refunds,
        refunded: won(refunded),
    };
    let days = vec![CouponDay { date: date("2026-03-01"), issued: 1 }];
    (
        vec![Popular { product_id: tea, sold: 3 }],
        vec![day(date("2026-03-02"), 0, 1, 2_500, 1, 2_000), day(date("2026-03-01"), 1, 1, 2_000, 0, 0)],
        vec![CouponFigures { coupon_id: spring, name: "spring".into(), issued: 1, days }],
    )
}

#[tokio::test]
async fn the_figures_are_the_same_in_whatever_order_the_topics_are_read() {
    let (tea, spring, now) = (ProductId::new(), CouponId::new(), time("2026-03-02T01:00:00Z"));
    for given in databases().await {
        for order in permutations(&events(tea, spring)) {
            for event in order {
                given.handle(group(), vec![event]).await;
            }
            assert_eq!(figures(&given, now).await, expected(tea, spring), "{}", given.name);
            given.clear(group()).await;
        }
    }
}

#[tokio::test]
async fn a_batch_that_was_rolled_back_counts_once_when_it_comes_again() {
    let (tea, spring, now) = (ProductId::new(), CouponId::new(), time("2026-03-02T01:00:00Z"));
    for given in databases().await {
        given.handle_and_roll_back(group(), events(tea, spring)).await;
        given.handle(group(), events(tea, spring)).await;
        assert_eq!(figures(&given, now).await, expected(tea, spring), "{}", given.name);
    }
}

#[tokio::test]
async fn a_rebuild_gives_the_same_figures() {
    let (tea, spring, now) = (ProductId::new(), CouponId::new(), time("2026-03-02T01:00:00Z"));
    for given in databases().await {
        given.handle(group(), events(tea, spring)).await;
        let before = figures(&given, now).await;
        given.clear(group()).await;
        assert_eq!(figures(&given, now).await, (vec![], vec![], vec![]), "{}", given.name);
        for event in events(tea, spring) {
            given.handle(group(), vec![event]).await;
        }
        assert_eq!(figures(&given, now).await, before, "{}", given.name);
    }
}

#[tokio::test]
async fn batches_of_several_partitions_at_the_same_time_add_up() {
    let now = time("2026-03-02T01:00:00Z");
    let products: Vec<ProductId> = (0..50).map(|_| ProductId::new()).collect();
    for given in databases().await {
        let batch = |i: usize| {
            let mut sold: Vec<_> = products.iter().map(|product| Purchase::of(*product, 1, 1).paid(now)).collect();
            sold.rotate_left(i);
            sold
        };
        given.handle_at_once(group, (0..20).map(batch).collect()).await;
        let sold: Vec<i64> = best(&given, now, 100).await.into_iter().map(|popular| popular.sold).collect();
        assert_eq!(sold, [20; 50], "{}", given.name);
        let sales = given.read(sales).await;
        assert_eq!((sales[0].paid, sales[0].revenue), (1_000, won(1_000)), "{}", given.name);
    }
}

#[tokio::test]
async fn coupons_are_counted_by_day_the_newest_coupon_first() {
    let (older, newer) = (CouponId::new(), CouponId::new());
    let (first, second) = (time("2026-03-01T12:00:00Z"), time("2026-03-02T12:00:00Z"));
    for given in databases().await {
        let batch = vec![issued(older, first), issued(newer, first), issued(older, second), issued(older, second)];
        given.handle(group(), batch).await;
        let got: Vec<_> = given.read(coupons).await.into_iter().map(|c| (c.coupon_id, c.issued, c.days)).collect();
        let day = |date, issued| CouponDay { date, issued };
        let of_older = vec![day(date("2026-03-01"), 1), day(date("2026-03-02"), 2)];
        let of_newer = vec![day(date("2026-03-01"), 1)];
        assert_eq!(got, [(newer, 1, of_newer), (older, 3, of_older)], "{}", given.name);
    }
}

#[tokio::test]
async fn purging_takes_an_hour_a_time_and_stops_before_what_is_still_popular() {
    let product = ProductId::new();
    for given in databases().await {
        let now = Time::now();
        for hours in [100, 90, 80, 70, 1] {
            given.handle(group(), vec![Purchase::of(product, hours, 1).paid(now - (hours as u32) * HOUR)]).await;
        }
        let before = best(&given, now, 5).await;
        let mut purged = Vec::new();
        for _ in 0..5 {
            purged.push(given.db.write(purge).await.expect("purged"));
        }
        assert_eq!(purged, [1, 1, 1, 0, 0], "{}", given.name);
        assert_eq!(best(&given, now, 5).await, before, "{}", given.name);
        assert_eq!(before, [Popular { product_id: product, sold: 71 }], "{}", given.name);
        assert_ne!(given.read(sales).await[0].revenue, Money::ZERO, "{}", given.name);
    }
}
