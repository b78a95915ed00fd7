//! Purchases on every database: concurrent attempts with one winner, and an audit of the books.

mod market;

use std::time::Duration;

use checkout::CheckoutError;
use contracts::{MemberId, Money, ProductId};
use coupon::{CouponError, OwnedStatus};
use market::{LONG, item, markets};
use order::{OrderError, OrderStatus};
use payment::PaymentError;
use stock::StockError;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_moves_stock_and_money_and_tells_of_it_in_order() {
    for market in markets().await {
        let (member, product) = (market.member(50_000).await, market.product(12_000, 5).await);
        let order = market.place(member, &[item(product, 2)]).await.unwrap();
        assert_eq!((order.status, order.payable), (OrderStatus::Pending, Money::from_minor(24_000)));
        let paid = market.pay(member, order.id).await.unwrap();
        assert_eq!(paid.amount, order.payable, "{market}");

        assert_eq!((market.balance(member).await, market.available(product).await), (26_000, 3), "{market}");
        let key = order.id.to_string();
        let expected = [("shop.order.created", 1), ("shop.payment.completed", 2)];
        assert_eq!(market.events_of(&key).await, expected, "{market}");
        assert_eq!(market.events_of(&product.to_string()).await, [("shop.stock.deducted", 2)], "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_goes_to_exactly_one_of_fifty_buyers() {
    for market in markets().await {
        let product = market.product(1_000, 1).await;
        let mut buyers = JoinSet::new();
        for _ in 0..50 {
            let market = market.clone();
            buyers.spawn(async move { market.place(MemberId::new(), &[item(product, 1)]).await });
        }
        let results = buyers.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{market}");
        for refused in results.into_iter().filter_map(Result::err) {
            let sold_out = matches!(refused, CheckoutError::Stock(StockError::Insufficient { available: 0, .. }));
            assert!(sold_out, "{market}: {refused}");
        }
        assert_eq!(market.available(product).await, 0, "{market}");
        assert_eq!(market.count_events().await, 2, "{market}: one order, one deduction");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_the_same_product_become_one_line() {
    for market in markets().await {
        let (tea, cup) = (market.product(1_000, 10).await, market.product(300, 10).await);
        let order = market.place(MemberId::new(), &[item(cup, 1), item(tea, 2), item(cup, 3)]).await.unwrap();
        let lines: Vec<(ProductId, i64)> = order.lines.iter().map(|line| (line.product_id, line.quantity)).collect();
        assert_eq!(lines, [(tea, 2), (cup, 4)], "{market}");
        assert_eq!(order.total, Money::from_minor(3_200), "{market}");
        assert_eq!(market.available(cup).await, 6, "{market}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_leaves_nothing_and_tells_nothing() {
    for market in markets().await {
        let (much, little) = (market.product(1_000, 10).await, market.product(1_000, 1).await);
        let dear = market.product(stock::MAX_PRICE.minor(), 20_000).await;
        let (member, other) = (market.member(0).await, market.member(0).await);
        let coupon = market.coupon_of(other).await;
        let told = market.count_events().await;

        let refused = market.place(member, &[item(much, 5), item(little, 2)]).await.unwrap_err();
        assert!(matches!(refused, CheckoutError::Stock(StockError::Insufficient { .. })), "{refused}");
        let refused = market.place(member, &[item(much, 5), item(ProductId::new(), 1)]).await.unwrap_err();
        assert!(matches!(refused, CheckoutError::Stock(StockError::Unknown { .. })), "{refused}");
        let refused = market.place(member, &[item(dear, 10_000)]).await.unwrap_err();
        assert!(matches!(refused, CheckoutError::Order(OrderError::Invalid { .. })), "{refused}");
        let refused = market.place_with(member, &[item(much, 5)], coupon, LONG).await.unwrap_err();
        assert!(matches!(refused, CheckoutError::Coupon(CouponError::NotFound)), "{refused}");

        assert_eq!(market.available(much).await, 10, "{market}");
        assert_eq!(market.available(dear).await, 20_000, "{market}");
        assert_eq!(market.count_events().await, told, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_paid_once_however_many_payments_race() {
    for market in markets().await {
        let (member, product) = (market.member(100_000).await, market.product(1_000, 5).await);
        let order = market.place(member, &[item(product, 1)]).await.unwrap();
        let mut payments = JoinSet::new();
        for _ in 0..20 {
            let (market, order) = (market.clone(), order.id);
            payments.spawn(async move { market.pay(member, order).await });
        }
        let results = payments.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{market}");
        for refused in results.into_iter().filter_map(Result::err) {
            let paid = matches!(refused, CheckoutError::Order(OrderError::State { status: OrderStatus::Paid, .. }));
            assert!(paid, "{market}: {refused}");
        }
        assert_eq!(market.balance(member).await, 99_000, "{market}");
        let expected = [("shop.order.created", 1), ("shop.payment.completed", 2)];
        assert_eq!(market.events_of(&order.id.to_string()).await, expected, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insufficient_balance_changes_nothing_and_the_order_can_still_be_paid() {
    for market in markets().await {
        let (member, product) = (market.member(999).await, market.product(1_000, 5).await);
        let order = market.place(member, &[item(product, 1)]).await.unwrap();
        let told = market.count_events().await;
        let refused = market.pay(member, order.id).await.unwrap_err();
        let short = matches!(refused, CheckoutError::Payment(PaymentError::InsufficientBalance { .. }));
        assert!(short, "{market}: {refused}");
        assert_eq!(market.order(order.id).await, order, "{market}");
        assert_eq!((market.balance(member).await, market.count_events().await), (999, told), "{market}");
        market.charge(member, 1).await;
        market.pay(member, order.id).await.unwrap();
        assert_eq!(market.balance(member).await, 0, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_asked_for_by_many_orders_at_once_is_taken_by_one() {
    for market in markets().await {
        let (member, product) = (market.member(100_000).await, market.product(10_000, 50).await);
        let coupon = market.coupon_of(member).await;
        let mut orders = JoinSet::new();
        for _ in 0..20 {
            let market = market.clone();
            orders.spawn(async move { market.place_with(member, &[item(product, 1)], coupon, LONG).await });
        }
        let results = orders.join_all().await;
        let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{market}");
        assert_eq!(won[0].payable, Money::from_minor(9_000), "{market}");
        for refused in results.iter().filter_map(|result| result.as_ref().err()) {
            let taken = matches!(refused, CheckoutError::Coupon(CouponError::NotAvailable { .. }));
            assert!(taken, "{market}: {refused}");
        }
        assert_eq!(market.available(product).await, 49, "{market}");
        market.pay(member, won[0].id).await.unwrap();
        assert_eq!(market.balance(member).await, 91_000, "{market}");
        assert_eq!(market.coupon_status(member, coupon).await, OwnedStatus::Used, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_paid_order_gives_stock_money_and_coupon_back_once() {
    for market in markets().await {
        let (member, product) = (market.member(20_000).await, market.product(10_000, 3).await);
        let coupon = market.coupon_of(member).await;
        let order = market.place_with(member, &[item(product, 2)], coupon, LONG).await.unwrap();
        market.pay(member, order.id).await.unwrap();
        assert_eq!((market.balance(member).await, market.available(product).await), (1_000, 1), "{market}");

        let mut cancellations = JoinSet::new();
        for _ in 0..10 {
            let (market, order) = (market.clone(), order.id);
            cancellations.spawn(async move { market.cancel(member, order).await });
        }
        let results = cancellations.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{market}");
        for refused in results.into_iter().filter_map(Result::err) {
            let closed =
                matches!(refused, CheckoutError::Order(OrderError::State { status: OrderStatus::Refunded, .. }));
            assert!(closed, "{market}: {refused}");
        }
        assert_eq!((market.balance(member).await, market.available(product).await), (20_000, 3), "{market}");
        assert_eq!(market.coupon_status(member, coupon).await, OwnedStatus::Available, "{market}");
        let mut told = market.events_of(&order.id.to_string()).await;
        told.sort_by_key(|(_, version)| *version);
        let ended = &told[2..];
        assert_eq!(ended, [("shop.order.cancelled", 3), ("shop.payment.refunded", 3)], "{market}");
        market.assert_books_agree().await;

        let again = market.place_with(member, &[item(product, 2)], coupon, LONG).await.unwrap();
        assert_eq!(again.payable, Money::from_minor(19_000), "{market}: a coupon that came back can be used");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_paid_in_time_gives_stock_and_coupon_back() {
    for market in markets().await {
        let (member, product) = (market.member(20_000).await, market.product(10_000, 3).await);
        let coupon = market.coupon_of(member).await;
        let order = market.place_with(member, &[item(product, 2)], coupon, Duration::ZERO).await.unwrap();
        let refused = market.pay(member, order.id).await.unwrap_err();
        let over = matches!(refused, CheckoutError::Order(OrderError::State { status: OrderStatus::Expired, .. }));
        assert!(over, "{market}: {refused}");
        assert_eq!(market.available(product).await, 1, "{market}");

        assert!(market.expire(order.id).await, "{market}");
        assert!(!market.expire(order.id).await, "{market}: only once");
        assert_eq!((market.balance(member).await, market.available(product).await), (20_000, 3), "{market}");
        assert_eq!(market.coupon_status(member, coupon).await, OwnedStatus::Available, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_paying_and_cancelling_at_once_one_decides_and_everything_adds_up() {
    for market in markets().await {
        let (member, product) = (market.member(1_000_000).await, market.product(1_000, 100).await);
        for round in 0..15 {
            let order = market.place(member, &[item(product, 1)]).await.unwrap().id;
            let (payer, canceller) = (market.clone(), market.clone());
            let (paid, cancelled) = tokio::join!(
                tokio::spawn(async move { payer.pay(member, order).await }),
                tokio::spawn(async move { canceller.cancel(member, order).await }),
            );
            // cancelling wins, or comes after the payment and refunds it
            let (paid, cancelled) = (paid.unwrap(), cancelled.unwrap().unwrap());
            let expected = if paid.is_ok() { OrderStatus::Refunded } else { OrderStatus::Cancelled };
            assert_eq!(cancelled.status, expected, "{market}: {round}");
            assert_eq!(market.order(order).await.status, expected, "{market}: {round}");
        }
        assert_eq!((market.balance(member).await, market.available(product).await), (1_000_000, 100), "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_paying_and_expiring_at_once_one_wins_and_everything_adds_up() {
    const WAIT: Duration = Duration::from_millis(40);
    for market in markets().await {
        let (member, product) = (market.member(1_000_000).await, market.product(1_000, 100).await);
        let mut races = JoinSet::new();
        for round in 0..30 {
            let market = market.clone();
            races.spawn(async move {
                let order = market.place_for(member, &[item(product, 1)], WAIT).await.unwrap().id;
                let (payer, sweeper) = (market.clone(), market.clone());
                let late = Duration::from_millis(round % 10);
                let paid = tokio::spawn(async move {
                    tokio::time::sleep(WAIT - Duration::from_millis(8) + late).await;
                    payer.pay(member, order).await.is_ok()
                });
                let expired = tokio::spawn(async move {
                    loop {
                        if sweeper.expire(order).await {
                            return true;
                        }
                        if sweeper.order(order).await.status != OrderStatus::Pending {
                            return false;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                });
                let (paid, expired) = (paid.await.unwrap(), expired.await.unwrap());
                assert!(paid != expired, "{market}: paid {paid}, expired {expired}");
                i64::from(paid)
            });
        }
        let paid: i64 = races.join_all().await.into_iter().sum();
        assert_eq!(market.balance(member).await, 1_000_000 - 1_000 * paid, "{market}");
        assert_eq!(market.available(product).await, 100 - paid, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_placed_and_cancelled_with_the_same_coupon_never_block_each_other_for_good() {
    for market in markets().await {
        let (one, two) = (market.product(10_000, 1_000).await, market.product(10_000, 1_000).await);
        let member = market.member(0).await;
        let coupon = market.coupon_of(member).await;
        let mut shoppers = JoinSet::new();
        for number in 0..8 {
            let market = market.clone();
            shoppers.spawn(async move {
                let items = if number % 2 == 0 { [item(one, 1), item(two, 1)] } else { [item(two, 1), item(one, 1)] };
                for _ in 0..10 {
                    match market.place_with(member, &items, coupon, LONG).await {
                        Ok(order) => drop(market.cancel(member, order.id).await.unwrap()),
                        Err(CheckoutError::Coupon(CouponError::NotAvailable { .. })) => {}
                        Err(other) => panic!("{market}: {other}"),
                    }
                }
            });
        }
        shoppers.join_all().await;
        assert_eq!((market.available(one).await, market.available(two).await), (1_000, 1_000), "{market}");
        assert_eq!(market.coupon_status(member, coupon).await, OwnedStatus::Available, "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipped_order_keeps_its_stock_and_money() {
    for market in markets().await {
        let (member, product) = (market.member(5_000).await, market.product(1_000, 5).await);
        let order = market.place(member, &[item(product, 1)]).await.unwrap().id;
        market.pay(member, order).await.unwrap();
        assert!(market.db.write(move |tx| order::mark_shipped(tx, order)).await.unwrap());
        let refused = market.cancel(member, order).await.unwrap_err();
        assert!(matches!(refused, CheckoutError::Order(OrderError::State { shipped: true, .. })), "{refused}");
        assert_eq!((market.balance(member).await, market.available(product).await), (4_000, 4), "{market}");
        market.assert_books_agree().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_members_order_is_neither_paid_nor_cancelled() {
    for market in markets().await {
        let (owner, thief) = (market.member(5_000).await, market.member(5_000).await);
        let product = market.product(1_000, 5).await;
        let order = market.place(owner, &[item(product, 1)]).await.unwrap().id;
        for refused in [
            market.pay(thief, order).await.map(drop).unwrap_err(),
            market.cancel(thief, order).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(refused, CheckoutError::Order(OrderError::NotFound)), "{market}: {refused}");
        }
        assert_eq!(market.balance(thief).await, 5_000, "{market}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_keeps_the_price_it_was_placed_with() {
    for market in markets().await {
        let (member, product) = (market.member(5_000).await, market.product(1_000, 5).await);
        let order = market.place(member, &[item(product, 1)]).await.unwrap().id;
        let dearer = stock::ProductChange::new(None, Some(Money::from_minor(4_000)), None, None).unwrap();
        market.db.write(move |tx| stock::change(tx, product, &dearer)).await.unwrap();
        assert_eq!(market.pay(member, order).await.unwrap().amount, Money::from_minor(1_000), "{market}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_finds_what_was_changed_behind_the_domains_back() {
    use db::diesel::{RunQueryDsl, sql_query};
    for market in markets().await {
        let (member, product) = (market.member(5_000).await, market.product(1_000, 5).await);
        let order = market.place(member, &[item(product, 1)]).await.unwrap().id;
        market.pay(member, order).await.unwrap();
        market.assert_books_agree().await;
        for spoil in ["UPDATE product SET available = available - 1", "UPDATE wallet SET balance = balance + 1"] {
            market
                .db
                .write(move |tx| -> db::Result<()> {
                    db::on_each!(&mut **tx, |c| sql_query(spoil).execute(c))?;
                    Ok(())
                })
                .await
                .unwrap();
        }
        let found = market.db.read(checkout::audit).await.unwrap();
        assert_eq!(found.len(), 2, "{market}: {found:?}");
    }
}
