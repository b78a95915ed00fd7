use consumers::coupon_history::{Entry, What, group, page};
use contracts::events::{CouponIssued, CouponReturned, CouponUsed};
use contracts::{CouponId, MemberId, OrderId, OwnedCouponId, RequestId};
use messaging::Event;

use super::given::{Given, databases, event, permutations, time, won};

/// Returns the events of a coupon: issued, used, and returned.
fn life(member_id: MemberId) -> Vec<Event> {
    let (owned_coupon_id, coupon_id, order_id) = (OwnedCouponId::new(), CouponId::new(), OrderId::new());
    vec![
        event(&CouponIssued {
            owned_coupon_id,
            owned_coupon_version: 1,
            coupon_id,
            coupon_name: "opening".into(),
            member_id,
            request_id: RequestId::new(),
            ordinal: 1,
            issued_at: time("2026-03-01T10:00:00Z"),
            expires_at: None,
        }),
        event(&CouponUsed {
            owned_coupon_id,
            owned_coupon_version: 2,
            coupon_id,
            member_id,
            order_id,
            discount: won(1_000),
            used_at: time("2026-03-01T11:00:00Z"),
        }),
        event(&CouponReturned {
            owned_coupon_id,
            owned_coupon_version: 3,
            coupon_id,
            member_id,
            order_id,
            returned_at: time("2026-03-01T12:00:00Z"),
        }),
    ]
}

async fn history(given: &Given, member: MemberId) -> Vec<Entry> {
    given.read(move |conn| page(conn, member, None, 100)).await
}

#[tokio::test]
async fn a_members_history_shows_what_happened_newest_first() {
    for given in databases().await {
        let (mina, juno) = (MemberId::new(), MemberId::new());
        given.handle(group(), life(mina)).await;
        given.handle(group(), life(juno)).await;
        let entries = history(&given, mina).await;
        let shown: Vec<_> = entries.iter().map(|entry| (entry.what, entry.at)).collect();
        let expected = [
            (What::Returned, time("2026-03-01T12:00:00Z")),
            (What::Used, time("2026-03-01T11:00:00Z")),
            (What::Issued, time("2026-03-01T10:00:00Z")),
        ];
        assert_eq!(shown, expected, "{}", given.name);
        assert!(entries.iter().all(|entry| entry.member_id == mina), "{}", given.name);
    }
}

#[tokio::test]
async fn an_event_that_comes_twice_is_one_entry_whatever_the_order_of_topics() {
    for given in databases().await {
        let member = MemberId::new();
        let events = life(member);
        given.handle(group(), events.clone()).await;
        let expected = history(&given, member).await;
        for order in permutations(&events) {
            given.handle_and_roll_back(group(), order.clone()).await;
            for event in order {
                given.handle(group(), vec![event.clone(), event]).await;
            }
            assert_eq!(history(&given, member).await, expected, "{}", given.name);
        }
    }
}

#[tokio::test]
async fn a_rebuild_gives_the_same_history() {
    for given in databases().await {
        let member = MemberId::new();
        let events = life(member);
        given.handle(group(), events.clone()).await;
        let before = history(&given, member).await;
        given.clear(group()).await;
        assert_eq!(history(&given, member).await, [], "{}", given.name);
        given.handle(group(), events).await;
        assert_eq!(history(&given, member).await, before, "{}", given.name);
    }
}

#[tokio::test]
async fn pages_of_the_history_miss_nothing() {
    for given in databases().await {
        let member = MemberId::new();
        for _ in 0..3 {
            given.handle(group(), life(member)).await;
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let entries = given.read(move |conn| page(conn, member, after, 2)).await;
            let Some(last) = entries.last() else { break };
            after = Some(last.id);
            seen.extend(entries);
        }
        assert_eq!(seen, history(&given, member).await, "{}", given.name);
        assert_eq!(seen.len(), 9, "{}", given.name);
    }
}
