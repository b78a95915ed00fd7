use std::time::Duration;

use consumers::delivery::{self, Delivery, DeliveryError, group, of_order};
use contracts::events::{DeliveryChanged, DeliveryStatus};
use contracts::{DeliveryId, OrderId, ProductId};
use db::types::Time;
use messaging::Event;
use order::{NewOrder, OrderError};

use super::given::{Given, Purchase, databases, permutations, time};

fn purchase() -> Purchase {
    Purchase::of(ProductId::new(), 1, 1_000)
}

async fn delivery_of(given: &Given, purchase: &Purchase) -> Delivery {
    let order = purchase.order_id;
    given.read(move |conn| of_order(conn, order)).await.expect("a delivery")
}

/// Returns the statuses told to members since the last call.
fn told(given: &Given) -> Vec<DeliveryStatus> {
    given.emitted::<DeliveryChanged>().into_iter().map(|changed| changed.status).collect()
}

/// A way an order can go.
type Life = fn(&Purchase) -> Vec<Event>;

/// Returns all lives of an order, with the final status of the delivery.
fn lives() -> Vec<(DeliveryStatus, Life)> {
    vec![
        (DeliveryStatus::Waiting, |p| vec![p.created(time("2026-03-01T10:00:00Z"))]),
        (DeliveryStatus::Preparing, |p| {
            vec![p.created(time("2026-03-01T10:00:00Z")), p.paid(time("2026-03-01T10:05:00Z"))]
        }),
        (DeliveryStatus::Cancelled, |p| {
            vec![p.created(time("2026-03-01T10:00:00Z")), p.cancelled(time("2026-03-01T10:05:00Z"))]
        }),
        (DeliveryStatus::Cancelled, |p| {
            let (paid, refunded) = (time("2026-03-01T10:05:00Z"), time("2026-03-01T10:10:00Z"));
            vec![
                p.created(time("2026-03-01T10:00:00Z")),
                p.paid(paid),
                p.cancelled_after_payment(refunded),
                p.refunded(paid, refunded),
            ]
        }),
    ]
}

#[tokio::test]
async fn every_order_of_events_leads_to_the_same_end() {
    for given in databases().await {
        for (end, life) in lives() {
            let last = delivery_end(life);
            for order in permutations(&(0..life(&purchase()).len()).collect::<Vec<_>>()) {
                let purchase = purchase();
                let events = life(&purchase);
                for at in &order {
                    given.handle(group(), vec![events[*at].clone()]).await;
                }
                let delivery = delivery_of(&given, &purchase).await;
                assert_eq!((delivery.status, delivery.changed_at), (end, last), "{} {order:?}", given.name);
            }
        }
    }
}

#[tokio::test]
async fn a_batch_with_several_events_of_an_order_leads_to_the_same_end() {
    for given in databases().await {
        for (end, life) in lives() {
            for order in permutations(&(0..life(&purchase()).len()).collect::<Vec<_>>()) {
                let (first, second) = (purchase(), purchase());
                let (events, others) = (life(&first), life(&second));
                let batch = order.iter().flat_map(|at| [events[*at].clone(), others[*at].clone()]).collect();
                given.handle(group(), batch).await;
                for purchase in [first, second] {
                    assert_eq!(delivery_of(&given, &purchase).await.status, end, "{} {order:?}", given.name);
                }
            }
        }
    }
}

/// Returns the time of the last event of a life.
fn delivery_end(life: Life) -> Time {
    match life(&purchase()).len() {
        1 => time("2026-03-01T10:00:00Z"),
        2 => time("2026-03-01T10:05:00Z"),
        _ => time("2026-03-01T10:10:00Z"),
    }
}

#[tokio::test]
async fn a_cancellation_seen_before_the_creation_stays_and_nobody_is_told_of_a_delivery() {
    for given in databases().await {
        let purchase = purchase();
        given.handle(group(), vec![purchase.cancelled(time("2026-03-01T10:05:00Z"))]).await;
        given.handle(group(), vec![purchase.created(time("2026-03-01T10:00:00Z"))]).await;
        assert_eq!(delivery_of(&given, &purchase).await.status, DeliveryStatus::Cancelled, "{}", given.name);
        assert_eq!(told(&given), [], "{}", given.name);
    }
}

#[tokio::test]
async fn members_are_told_once_of_preparing_and_of_a_cancellation_after_it() {
    let (paid, refunded) = (time("2026-03-01T10:05:00Z"), time("2026-03-01T10:10:00Z"));
    for given in databases().await {
        let purchase = purchase();
        given.handle(group(), vec![purchase.created(time("2026-03-01T10:00:00Z"))]).await;
        assert_eq!(told(&given), [], "{}", given.name);
        given.handle(group(), vec![purchase.paid(paid)]).await;
        assert_eq!(told(&given), [DeliveryStatus::Preparing], "{}", given.name);
        given.handle(group(), vec![purchase.cancelled_after_payment(refunded)]).await;
        given.handle(group(), vec![purchase.refunded(paid, refunded)]).await;
        assert_eq!(told(&given), [DeliveryStatus::Cancelled], "{}", given.name);
        let delivery = delivery_of(&given, &purchase).await;
        assert_eq!((delivery.version, delivery.prepared_at), (3, Some(paid)), "{}", given.name);
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_changes_nothing_and_tells_nobody() {
    for given in databases().await {
        let purchase = purchase();
        let batch = vec![purchase.paid(time("2026-03-01T10:05:00Z"))];
        given.handle_and_roll_back(group(), batch.clone()).await;
        assert_eq!(told(&given), [], "{}", given.name);
        given.handle(group(), batch.clone()).await;
        let once = delivery_of(&given, &purchase).await;
        given.handle(group(), batch).await;
        assert_eq!(delivery_of(&given, &purchase).await, once, "{}", given.name);
        assert_eq!(told(&given), [DeliveryStatus::Preparing], "{}", given.name);
    }
}

#[tokio::test]
async fn topics_handled_at_the_same_time_make_one_delivery_an_order() {
    let (created, paid) = (time("2026-03-01T10:00:00Z"), time("2026-03-01T10:05:00Z"));
    for given in databases().await {
        let purchases: Vec<Purchase> = (0..400).map(|_| purchase()).collect();
        let mut batches: Vec<Vec<Event>> = Vec::new();
        for some in purchases.chunks(100) {
            batches.push(some.iter().map(|p| p.created(created)).collect());
            batches.push(some.iter().rev().map(|p| p.paid(paid)).collect());
        }
        given.handle_at_once(group, batches).await;
        for purchase in &purchases {
            assert_eq!(delivery_of(&given, purchase).await.status, DeliveryStatus::Preparing, "{}", given.name);
        }
        assert_eq!(told(&given), vec![DeliveryStatus::Preparing; 400], "{}", given.name);
        let all = given.read(|conn| delivery::page(conn, None, None, 1_000)).await;
        assert_eq!(all.len(), 400, "{}", given.name);
    }
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_by_status() {
    for given in databases().await {
        let purchases = [purchase(), purchase(), purchase(), purchase()];
        for (i, purchase) in purchases.iter().enumerate() {
            let at = time("2026-03-01T10:00:00Z");
            given.handle(group(), vec![if i == 1 { purchase.created(at) } else { purchase.paid(at) }]).await;
        }
        let preparing = Some(DeliveryStatus::Preparing);
        let first = given.read(move |conn| delivery::page(conn, preparing, None, 2)).await;
        let after = first.last().map(|delivery| delivery.id);
        let second = given.read(move |conn| delivery::page(conn, preparing, after, 2)).await;
        let orders: Vec<_> = first.iter().chain(&second).map(|delivery| delivery.order_id).collect();
        let expected = [purchases[3].order_id, purchases[2].order_id, purchases[0].order_id];
        assert_eq!(orders, expected, "{}", given.name);
    }
}

/// Places and pays an order, and prepares the delivery.
async fn paid_order(given: &Given) -> (Purchase, DeliveryId) {
    let purchase = purchase();
    let (order, member, lines) = (purchase.order_id, purchase.member_id, purchase.lines.clone());
    let paid = given.db.write(move |tx| {
        order::place(tx, NewOrder::new(order, member, lines.clone())?, Duration::from_secs(900))?;
        order::mark_paid(tx, order, member)
    });
    let paid = paid.await.expect("paid");
    given.handle(group(), vec![purchase.paid(paid.paid_at.expect("a time"))]).await;
    let delivery = delivery_of(given, &purchase).await.id;
    told(given);
    (purchase, delivery)
}

#[tokio::test]
async fn what_is_prepared_is_shipped_and_then_delivered_and_members_are_told() {
    for given in databases().await {
        let (purchase, id) = paid_order(&given).await;
        let too_early = given.db.write(move |tx| delivery::deliver(tx, id)).await;
        assert!(matches!(too_early, Err(DeliveryError::State { status: DeliveryStatus::Preparing })), "{too_early:?}");
        let shipped = given.db.write(move |tx| delivery::ship(tx, id)).await.expect("shipped");
        let delivered = given.db.write(move |tx| delivery::deliver(tx, id)).await.expect("delivered");
        assert_eq!((shipped.status, shipped.version), (DeliveryStatus::Shipped, 2), "{}", given.name);
        assert_eq!((delivered.status, delivered.version), (DeliveryStatus::Delivered, 3), "{}", given.name);
        assert_eq!(delivered, delivery_of(&given, &purchase).await, "{}", given.name);
        assert_eq!(told(&given), [DeliveryStatus::Shipped, DeliveryStatus::Delivered], "{}", given.name);
    }
}

#[tokio::test]
async fn events_read_late_do_not_call_back_what_was_shipped() {
    for given in databases().await {
        let (purchase, id) = paid_order(&given).await;
        given.db.write(move |tx| delivery::ship(tx, id)).await.expect("shipped");
        given.handle(group(), vec![purchase.created(Time::now())]).await;
        given.handle(group(), vec![purchase.paid(Time::now())]).await;
        assert_eq!(delivery_of(&given, &purchase).await.status, DeliveryStatus::Shipped, "{}", given.name);
        assert_eq!(told(&given), [DeliveryStatus::Shipped], "{}", given.name);
    }
}

#[tokio::test]
async fn of_shipping_and_a_refund_at_the_same_moment_one_wins() {
    for given in databases().await {
        for _ in 0..20 {
            let (purchase, id) = paid_order(&given).await;
            let (order, member) = (purchase.order_id, purchase.member_id);
            let ship = given.db.write(move |tx| delivery::ship(tx, id));
            let refund = given.db.write(move |tx| order::cancel(tx, order, member));
            let (shipped, refunded) = tokio::join!(ship, refund);
            match (&shipped, &refunded) {
                (Ok(_), Err(OrderError::State { shipped: true, .. })) | (Err(DeliveryError::OrderClosed), Ok(_)) => {}
                _ => panic!("{}: {shipped:?}, {refunded:?}", given.name),
            }
            let expected = if shipped.is_ok() { DeliveryStatus::Shipped } else { DeliveryStatus::Preparing };
            assert_eq!(delivery_of(&given, &purchase).await.status, expected, "{}", given.name);
        }
    }
}

#[tokio::test]
async fn of_several_who_ship_one_does() {
    for given in databases().await {
        let (_, id) = paid_order(&given).await;
        let ships = (0..8).map(|_| given.db.write(move |tx| delivery::ship(tx, id)));
        let (shipped, refused): (Vec<_>, Vec<_>) =
            futures::future::join_all(ships).await.into_iter().partition(Result::is_ok);
        assert_eq!(shipped.len(), 1, "{}", given.name);
        let is_shipped = |r: &Result<_, _>| matches!(r, Err(DeliveryError::State { status: DeliveryStatus::Shipped }));
        assert!(refused.iter().all(is_shipped), "{}: {refused:?}", given.name);
        assert_eq!(told(&given), [DeliveryStatus::Shipped], "{}", given.name);
    }
}

#[tokio::test]
async fn an_order_whose_payment_was_not_seen_yet_is_not_shipped() {
    for given in databases().await {
        let (purchase, _) = paid_order(&given).await;
        let unseen = Purchase { order_id: OrderId::new(), ..purchase };
        let (order, member, lines) = (unseen.order_id, unseen.member_id, unseen.lines.clone());
        given.handle(group(), vec![unseen.created(Time::now())]).await;
        let paid = given.db.write(move |tx| {
            order::place(tx, NewOrder::new(order, member, lines.clone())?, Duration::from_secs(900))?;
            order::mark_paid(tx, order, member)
        });
        paid.await.expect("paid");
        let id = delivery_of(&given, &unseen).await.id;
        let refused = given.db.write(move |tx| delivery::ship(tx, id)).await;
        assert!(matches!(refused, Err(DeliveryError::State { status: DeliveryStatus::Waiting })), "{refused:?}");
        let order = given.read(move |conn| order::get(conn, order)).await.expect("an order");
        assert_eq!(order.shipped_at, None, "{}: what was refused left a mark", given.name);
    }
}

#[tokio::test]
async fn a_delivery_nobody_knows_is_not_found() {
    for given in databases().await {
        let unknown = given.db.write(|tx| delivery::ship(tx, DeliveryId::new())).await;
        assert!(matches!(unknown, Err(DeliveryError::NotFound)), "{}: {unknown:?}", given.name);
    }
}
