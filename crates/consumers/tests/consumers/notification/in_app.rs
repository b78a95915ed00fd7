//! Rows in the app: numbered by member without holes, once, and shown at once.

use std::time::Duration;

use consumers::notification::{self, Hub, Notification};
use contracts::events::DeliveryStatus;
use contracts::{MemberId, OrderId, ProductId};
use db::types::Id;
use tokio_util::sync::CancellationToken;

use super::super::given::{Given, Purchase, databases, time};
use super::{admin, coupon_won_by, delivery_is, low_stock, paid_by};

async fn all(given: &Given, member: MemberId) -> Vec<Notification> {
    given.read(move |conn| notification::after(conn, member, 0, 1_000)).await
}

fn numbers(notifications: &[Notification]) -> Vec<i64> {
    notifications.iter().map(|notification| notification.number).collect()
}

fn group() -> messaging::Group {
    notification::group(&Hub::new())
}

#[tokio::test]
async fn each_event_is_told_in_a_sentence() {
    for given in databases().await {
        let (member, order, product) = (MemberId::new(), OrderId::new(), ProductId::new());
        let mut purchase = Purchase::of(product, 2, 5_000);
        purchase.member_id = member;
        let at = time("2026-11-22T10:00:00Z");
        let mut events = vec![
            paid_by(member),
            coupon_won_by(member),
            purchase.paid(at),
            purchase.cancelled(at),
            purchase.cancelled_after_payment(at),
        ];
        use DeliveryStatus::*;
        events.extend([Waiting, Preparing, Shipped, Delivered].map(|status| delivery_is(status, member, order)));
        let paid = events[0].clone();
        given.handle(group(), events).await;
        let told: Vec<_> = all(&given, member).await;
        let texts: Vec<_> = told.iter().map(|told| (told.kind.as_str(), told.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("payment-completed", "You paid 19000 KRW for tea, 900 KRW less by coupon."),
                ("coupon-issued", "You won the coupon Autumn, number 3; it is valid until 2026-12-01 00:00 UTC."),
                ("payment-completed", "You paid 10000 KRW for tea."),
                ("order-cancelled", "Your order of tea was cancelled."),
                ("order-cancelled", "Your order of tea was cancelled, and you got your money back."),
                ("delivery-changed", &format!("Your order {order} is being packed.")),
                ("delivery-changed", &format!("Your order {order} is on its way.")),
                ("delivery-changed", &format!("Your order {order} was delivered.")),
            ]
        );
        assert_eq!((told[0].event_id, told[0].at, told[0].read), (paid.id, paid.occurred_at, false));
    }
}

#[tokio::test]
async fn numbers_have_no_holes_whatever_comes_together_or_fails() {
    for given in databases().await {
        let members: Vec<_> = (0..5).map(|_| MemberId::new()).collect();
        let batch = || members.iter().cycle().take(40).map(|member| paid_by(*member)).collect::<Vec<_>>();
        given.handle_and_roll_back(group(), batch()).await;
        given.handle_at_once(group, (0..10).map(|_| batch()).collect()).await;
        for member in members {
            assert_eq!(numbers(&all(&given, member).await), (1..=80).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_batch_larger_than_a_statement_is_taken() {
    for given in databases().await {
        let member = MemberId::new();
        let mut batch: Vec<_> = (0..2_500).map(|_| paid_by(MemberId::new())).collect();
        batch.extend((0..2_500).map(|_| paid_by(member)));
        given.handle(group(), batch).await;
        assert_eq!(given.read(move |conn| notification::last_number(conn, member)).await, 2_500);
    }
}

#[tokio::test]
async fn an_event_that_comes_twice_is_told_once() {
    for given in databases().await {
        let member = MemberId::new();
        let paid = paid_by(member);
        given.handle(group(), vec![paid.clone()]).await;
        given.handle(group(), vec![paid.clone()]).await;
        assert_eq!(all(&given, member).await.len(), 1);
    }
}

#[tokio::test]
async fn low_stock_is_told_to_every_admin() {
    for given in databases().await {
        super::member(&given, "shopper@example.com").await;
        admin(&given, "one@example.com").await;
        admin(&given, "two@example.com").await;
        let product = ProductId::new();
        given.handle(group(), vec![low_stock(product), low_stock(product)]).await;
        for member in given.read(|conn| member::page(conn, None, 10)).await {
            let told = all(&given, member.id).await;
            assert_eq!(told.len(), if member.role == member::Role::Admin { 2 } else { 0 });
            assert!(told.iter().all(|told| told.text
                == format!("Product {product} is down to 2, under its threshold of 5; 10 were ordered.")));
        }
    }
}

#[tokio::test]
async fn pages_streams_and_marks() {
    for given in databases().await {
        let (member, other) = (MemberId::new(), MemberId::new());
        given.handle(group(), (0..5).map(|_| paid_by(member)).chain([paid_by(other)]).collect()).await;
        let page = async |before| given.read(move |conn| notification::page(conn, member, before, 2)).await;
        assert_eq!(numbers(&page(None).await), [5, 4]);
        assert_eq!(numbers(&page(Some(4)).await), [3, 2]);
        let after = given.read(move |conn| notification::after(conn, member, 3, 10)).await;
        assert_eq!(numbers(&after), [4, 5]);
        let mark = async || given.db.write(move |tx| notification::mark_read(tx, member, 3)).await.expect("marked");
        assert_eq!((mark().await, mark().await), (3, 0));
        let read: Vec<_> = all(&given, member).await.iter().map(|told| told.read).collect();
        assert_eq!(read, [true, true, true, false, false]);
        assert!(!all(&given, other).await[0].read);
        assert_eq!(given.read(|conn| notification::last_number(conn, MemberId::new())).await, 0);
    }
}

#[tokio::test]
async fn a_stream_is_woken_by_the_commit_and_by_nothing_else() {
    const SHORT: Duration = Duration::from_millis(50);
    for given in databases().await {
        let hub = Hub::new();
        let (member, other) = (MemberId::new(), MemberId::new());
        let (mut mine, mut mine_too, mut others) = (hub.listen(member), hub.listen(member), hub.listen(other));
        given.handle_and_roll_back(notification::group(&hub), vec![paid_by(member)]).await;
        assert!(tokio::time::timeout(SHORT, mine.wait()).await.is_err(), "nothing was committed");

        given.handle(notification::group(&hub), vec![paid_by(member)]).await;
        for listener in [&mut mine, &mut mine_too] {
            tokio::time::timeout(SHORT * 20, listener.wait()).await.expect("woken");
        }
        assert!(tokio::time::timeout(SHORT, others.wait()).await.is_err(), "nothing for this member");
        drop((mine_too, others));
        given.handle(notification::group(&hub), vec![paid_by(member), paid_by(other)]).await;
        tokio::time::timeout(SHORT * 20, mine.wait()).await.expect("woken again");
    }
}

#[tokio::test]
async fn streams_of_another_process_are_woken_by_one_look_for_all() {
    for given in databases().await.into_iter().filter(|given| given.db.is_shared()) {
        let (hub, stop) = (Hub::new(), CancellationToken::new());
        let following = tokio::spawn(hub.clone().follow(given.db.clone(), stop.clone()));
        let members: Vec<MemberId> = (0..3).map(|_| MemberId::new()).collect();
        let mut listeners: Vec<_> = members.iter().map(|member| hub.listen(*member)).collect();
        let of_another_process = notification::group(&Hub::new());
        given.handle(of_another_process, members.iter().map(|member| paid_by(*member)).collect()).await;
        for listener in &mut listeners {
            tokio::time::timeout(Duration::from_secs(20), listener.wait()).await.expect("woken");
        }
        stop.cancel();
        following.await.unwrap();
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_fails_and_tells_nobody() {
    for given in databases().await {
        let member = MemberId::new();
        let mut newer = paid_by(member);
        (newer.id, newer.version) = (Id::new(), 99);
        given.try_handle(group(), vec![paid_by(member), newer]).await.expect_err("refused");
        assert!(all(&given, member).await.is_empty());
    }
}
