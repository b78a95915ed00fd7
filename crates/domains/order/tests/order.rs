//! The rules of orders: baskets and prices without a database, an order's life on every database.

use std::time::Duration;

use contracts::events::OrderLine;
use contracts::{MemberId, Money, OrderId, OwnedCouponId, ProductId};
use db::Database;
use order::{Basket, Item, MAX_LINES, MAX_QUANTITY, MAX_TOTAL, NewOrder, Order, OrderError, OrderStatus};
use proptest::prelude::*;
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(600);

fn line(price: i64, quantity: i64) -> OrderLine {
    OrderLine { product_id: ProductId::new(), name: "tea".into(), price: Money::from_minor(price), quantity }
}

async fn place(db: &Database, member: MemberId, expires_after: Duration) -> Order {
    let new = NewOrder::new(OrderId::new(), member, vec![line(1_000, 2)]).unwrap();
    db.write(move |tx| order::place(tx, new.clone(), expires_after)).await.unwrap()
}

async fn get(db: &Database, id: OrderId) -> Order {
    db.read(move |conn| order::get(conn, id)).await.unwrap().expect("it was placed")
}

async fn pay(db: &Database, order: &Order) -> Result<Order, OrderError> {
    let (id, member) = (order.id, order.member_id);
    db.write(move |tx| order::mark_paid(tx, id, member)).await
}

async fn cancel(db: &Database, order: &Order) -> Result<Order, OrderError> {
    let (id, member) = (order.id, order.member_id);
    db.write(move |tx| order::cancel(tx, id, member)).await
}

async fn expire(db: &Database, id: OrderId) -> Option<Order> {
    db.write(move |tx| order::expire(tx, id)).await.unwrap()
}

async fn ship(db: &Database, id: OrderId) -> bool {
    db.write(move |tx| order::mark_shipped(tx, id)).await.unwrap()
}

#[test]
fn items_of_the_same_product_are_added_up() {
    let (tea, cup) = (ProductId::new(), ProductId::new());
    let items = [(cup, 1), (tea, 2), (cup, 3)].map(|(product_id, quantity)| Item { product_id, quantity });
    assert_eq!(Basket::new(&items).unwrap().wanted(), [(tea, 2), (cup, 4)]);
}

#[test]
fn a_basket_has_up_to_a_hundred_items_and_ten_thousand_units_of_each() {
    let items = |count: usize, quantity| -> Vec<Item> {
        (0..count).map(|_| Item { product_id: ProductId::new(), quantity }).collect()
    };
    let field = |items: &[Item]| match Basket::new(items) {
        Ok(_) => "",
        Err(OrderError::Invalid { field, .. }) => field,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(field(&items(MAX_LINES, MAX_QUANTITY)), "");
    assert_eq!(field(&[]), "items");
    assert_eq!(field(&items(MAX_LINES + 1, 1)), "items");
    for quantity in [0, -1, i64::MIN, MAX_QUANTITY + 1, i64::MAX] {
        assert_eq!(field(&items(1, quantity)), "quantity", "{quantity}");
    }
    let product_id = ProductId::new();
    let twice = [MAX_QUANTITY, 1].map(|quantity| Item { product_id, quantity });
    assert_eq!(field(&twice), "quantity");
}

#[test]
fn an_order_that_would_overflow_is_refused() {
    let new = |lines| NewOrder::new(OrderId::new(), MemberId::new(), lines);
    assert!(new(vec![line(MAX_TOTAL.minor(), 1)]).is_ok());
    for lines in [
        vec![line(MAX_TOTAL.minor(), 1), line(1, 1)],
        vec![line(i64::MAX, 2)],
        vec![line(i64::MAX, 1), line(i64::MAX, 1)],
        vec![line(-1, 1)],
        vec![line(1, 0)],
        vec![],
    ] {
        assert!(matches!(new(lines.clone()), Err(OrderError::Invalid { .. })), "{lines:?}");
    }
}

proptest! {
    #[test]
    fn an_order_costs_the_sum_of_its_lines_less_its_discount(
        lines in prop::collection::vec((0..1_000_000_i64, 1..=MAX_QUANTITY), 1..20),
        share in 0..=100_i64,
    ) {
        let sum: i64 = lines.iter().map(|(price, quantity)| price * quantity).sum();
        let lines = lines.into_iter().map(|(price, quantity)| line(price, quantity)).collect();
        let order = NewOrder::new(OrderId::new(), MemberId::new(), lines).unwrap();
        prop_assert_eq!(order.total().minor(), sum);
        prop_assert_eq!(order.payable().minor(), sum);

        let discount = sum / 100 * share;
        let reduced = order.clone().with_coupon(OwnedCouponId::new(), Money::from_minor(discount)).unwrap();
        prop_assert_eq!((reduced.total().minor(), reduced.payable().minor()), (sum, sum - discount));
        for wrong in [-1, sum + 1] {
            prop_assert!(order.clone().with_coupon(OwnedCouponId::new(), Money::from_minor(wrong)).is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_read_back_as_it_was_placed() {
    for shop in testkit::databases().await {
        let lines = vec![line(1_000, 2), OrderLine { name: "유자차 \"hot\"".into(), ..line(250, 4) }];
        let coupon = OwnedCouponId::new();
        let new = NewOrder::new(OrderId::new(), MemberId::new(), lines)
            .and_then(|new| new.with_coupon(coupon, Money::from_minor(300)))
            .unwrap();
        let placed = shop.db.write(move |tx| order::place(tx, new.clone(), LONG)).await.unwrap();
        assert_eq!(get(&shop.db, placed.id).await, placed, "{}", shop.name);
        assert_eq!((placed.total.minor(), placed.discount.minor(), placed.payable.minor()), (3_000, 300, 2_700));
        assert_eq!((placed.status, placed.version), (OrderStatus::Pending, 1));
        assert_eq!(placed.expires_at, placed.created_at + LONG);
    }
}

/// Returns the outcome of a step by the rules: status, and true if shipped; `None` for a refusal.
fn by_the_rules(step: char, (status, shipped): (OrderStatus, bool)) -> Option<(OrderStatus, bool)> {
    match (step, status, shipped) {
        ('p', OrderStatus::Pending, _) => Some((OrderStatus::Paid, false)),
        ('c', OrderStatus::Pending, _) => Some((OrderStatus::Cancelled, false)),
        ('c', OrderStatus::Paid, false) => Some((OrderStatus::Refunded, false)),
        ('s', OrderStatus::Paid, false) => Some((OrderStatus::Paid, true)),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_steps_leads_where_the_rules_say() {
    const STEPS: [char; 4] = ['p', 'c', 's', 'e'];
    for shop in testkit::databases().await {
        for number in 0..4_usize.pow(3) {
            let steps = [number % 4, number / 4 % 4, number / 16].map(|step| STEPS[step]);
            let order = place(&shop.db, MemberId::new(), LONG).await;
            let (mut state, mut version) = ((OrderStatus::Pending, false), 1);
            for step in steps {
                let done = match step {
                    'p' => pay(&shop.db, &order).await.is_ok(),
                    'c' => cancel(&shop.db, &order).await.is_ok(),
                    's' => ship(&shop.db, order.id).await,
                    _ => expire(&shop.db, order.id).await.is_some(),
                };
                let expected = by_the_rules(step, state);
                assert_eq!(done, expected.is_some(), "{}: {step} of {steps:?}", shop.name);
                version += i64::from(done);
                state = expected.unwrap_or(state);
                let now = get(&shop.db, order.id).await;
                assert_eq!((now.status, now.shipped_at.is_some()), state, "{}: {step} of {steps:?}", shop.name);
                assert_eq!(now.version, version, "{}: {step} of {steps:?}", shop.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_paying_and_cancelling_pending_orders_at_once_the_answers_agree_with_the_order() {
    for shop in testkit::databases().await {
        let order = place(&shop.db, MemberId::new(), LONG).await;
        let (mut payments, mut cancellations) = (JoinSet::new(), JoinSet::new());
        for _ in 0..10 {
            let (db, one) = (shop.db.clone(), order.clone());
            payments.spawn(async move { pay(&db, &one).await });
            let (db, one) = (shop.db.clone(), order.clone());
            cancellations.spawn(async move { cancel(&db, &one).await });
        }
        let paid = payments.join_all().await.into_iter().filter(Result::is_ok).count();
        let ended: Vec<_> = cancellations.join_all().await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(ended.len(), 1, "{}", shop.name);
        let expected = if paid == 1 { OrderStatus::Refunded } else { OrderStatus::Cancelled };
        assert!(paid <= 1, "{}", shop.name);
        assert_eq!(ended[0].status, expected, "{}", shop.name);
        assert_eq!(get(&shop.db, order.id).await, ended[0], "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_over_its_time_cannot_be_paid_even_before_it_is_expired() {
    for shop in testkit::databases().await {
        let order = place(&shop.db, MemberId::new(), Duration::ZERO).await;
        let refused = pay(&shop.db, &order).await.unwrap_err();
        assert!(matches!(refused, OrderError::State { status: OrderStatus::Expired, .. }), "{}: {refused}", shop.name);
        let expired = expire(&shop.db, order.id).await.unwrap();
        assert_eq!((expired.status, expired.closed_at.is_some()), (OrderStatus::Expired, true), "{}", shop.name);
        assert_eq!(expire(&shop.db, order.id).await, None, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_members_order_is_not_found() {
    for shop in testkit::databases().await {
        let order = place(&shop.db, MemberId::new(), LONG).await;
        let foreign = Order { member_id: MemberId::new(), ..order.clone() };
        let missing = Order { id: OrderId::new(), ..order.clone() };
        for wrong in [foreign, missing] {
            assert!(matches!(pay(&shop.db, &wrong).await, Err(OrderError::NotFound)), "{}", shop.name);
            assert!(matches!(cancel(&shop.db, &wrong).await, Err(OrderError::NotFound)), "{}", shop.name);
        }
        assert_eq!(get(&shop.db, order.id).await, order, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipped_order_is_not_refunded() {
    for shop in testkit::databases().await {
        let order = place(&shop.db, MemberId::new(), LONG).await;
        pay(&shop.db, &order).await.unwrap();
        assert!(ship(&shop.db, order.id).await);
        let refused = cancel(&shop.db, &order).await.unwrap_err();
        let expected = matches!(refused, OrderError::State { status: OrderStatus::Paid, shipped: true });
        assert!(expected, "{}: {refused}", shop.name);
        assert_eq!(refused.to_string(), "the order is paid and shipped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_orders_over_their_time_are_due_the_longest_first() {
    for shop in testkit::databases().await {
        let member = MemberId::new();
        let soon = Duration::from_millis(5);
        let (second, first) = (place(&shop.db, member, soon).await, place(&shop.db, member, Duration::ZERO).await);
        let third = place(&shop.db, member, soon * 4).await;
        let cancelled = place(&shop.db, member, Duration::ZERO).await;
        cancel(&shop.db, &cancelled).await.unwrap();
        place(&shop.db, member, LONG).await;
        tokio::time::sleep(soon * 5).await;

        let mut expected = [first, second, third];
        expected.sort_by_key(|order| order.expires_at);
        let expected = expected.map(|order| order.id);
        let due = async |limit| shop.db.read(move |conn| order::due(conn, limit)).await.unwrap();
        assert_eq!(due(10).await, expected, "{}", shop.name);
        assert_eq!(due(2).await, expected[..2], "{}", shop.name);
        expire(&shop.db, expected[0]).await.unwrap();
        assert_eq!(due(10).await, expected[1..], "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_paged_from_the_newest_for_a_member_or_for_all() {
    for shop in testkit::databases().await {
        let (one, other) = (MemberId::new(), MemberId::new());
        let mut placed = Vec::new();
        for member in [one, other, one, one] {
            placed.push(place(&shop.db, member, LONG).await);
        }
        placed.reverse();
        for whose in [None, Some(one), Some(MemberId::new())] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = shop.db.read(move |conn| order::page(conn, whose, after, 2)).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                seen.extend(page);
            }
            let expected = placed.iter().filter(|order| whose.is_none_or(|member| member == order.member_id));
            assert!(seen.iter().eq(expected), "{}: {whose:?}", shop.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_orders_hold_is_told_by_product() {
    for shop in testkit::databases().await {
        let member = MemberId::new();
        let (pending, paid) = (place(&shop.db, member, LONG).await, place(&shop.db, member, LONG).await);
        let gone = place(&shop.db, member, LONG).await;
        pay(&shop.db, &paid).await.unwrap();
        cancel(&shop.db, &gone).await.unwrap();
        let held = shop.db.read(order::held).await.unwrap();
        let units = |order: &Order| held.get(&order.lines[0].product_id).map(|held| (held.reserved, held.sold));
        assert_eq!((units(&pending), units(&paid), units(&gone)), (Some((2, 0)), Some((0, 2)), None), "{}", shop.name);
    }
}
