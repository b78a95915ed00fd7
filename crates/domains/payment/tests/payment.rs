//! The rules of wallets and payments, on every database.

use contracts::events::OrderLine;
use contracts::{MemberId, Money, OrderId, ProductId};
use db::Database;
use payment::{Charge, MAX_BALANCE, MAX_CHARGE, Payment, PaymentError, TransactionKind};
use tokio::task::JoinSet;

fn won(amount: i64) -> Money {
    Money::from_minor(amount)
}

async fn member_with(db: &Database, amount: i64) -> MemberId {
    let member = MemberId::new();
    charge(db, member, amount).await.unwrap();
    member
}

async fn charge(db: &Database, member: MemberId, amount: i64) -> Result<Money, PaymentError> {
    db.write(move |tx| payment::charge(tx, member, won(amount))).await
}

async fn pay(db: &Database, member_id: MemberId, order_id: OrderId, amount: i64) -> Result<Payment, PaymentError> {
    let amount = won(amount);
    let lines = vec![OrderLine { product_id: ProductId::new(), name: "tea".into(), price: amount, quantity: 1 }];
    let discount = Money::ZERO;
    let charge = Charge { order_id, order_version: 2, member_id, lines, total: amount, discount, amount };
    db.write(move |tx| payment::pay(tx, &charge)).await
}

async fn refund(db: &Database, order: OrderId) -> Result<Payment, PaymentError> {
    db.write(move |tx| payment::refund(tx, order, 3, &[])).await
}

async fn balance(db: &Database, member: MemberId) -> i64 {
    db.read(move |conn| payment::balance(conn, member)).await.unwrap().minor()
}

async fn assert_books_agree(db: &Database) {
    for wallet in db.read(payment::sums).await.unwrap() {
        assert_eq!(wallet.balance, wallet.sum, "{wallet:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_at_the_same_moment_all_count() {
    for shop in testkit::databases().await {
        let member = MemberId::new();
        assert_eq!(balance(&shop.db, member).await, 0);
        let mut charges = JoinSet::new();
        for _ in 0..30 {
            let db = shop.db.clone();
            charges.spawn(async move { charge(&db, member, 100).await.unwrap().minor() });
        }
        let mut balances = charges.join_all().await;
        balances.sort_unstable();
        assert_eq!(balances, (1..=30).map(|n| n * 100).collect::<Vec<i64>>(), "{}", shop.name);
        assert_books_agree(&shop.db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_takes_no_amount_that_would_overflow_it() {
    for shop in testkit::databases().await {
        let member = member_with(&shop.db, 1).await;
        for amount in [0, -1, i64::MIN, MAX_CHARGE.minor() + 1, i64::MAX] {
            let refused = charge(&shop.db, member, amount).await.unwrap_err();
            assert!(matches!(refused, PaymentError::Invalid { field: "amount", .. }), "{amount}: {refused}");
        }
        let full = MAX_BALANCE.minor() / MAX_CHARGE.minor();
        shop.db
            .write(move |tx| (1..full).try_for_each(|_| payment::charge(tx, member, MAX_CHARGE).map(drop)))
            .await
            .unwrap();
        assert!(matches!(charge(&shop.db, member, MAX_CHARGE.minor()).await, Err(PaymentError::WalletFull)));
        assert_eq!(charge(&shop.db, member, MAX_CHARGE.minor() - 1).await.unwrap(), MAX_BALANCE, "{}", shop.name);
        assert!(matches!(charge(&shop.db, member, 1).await, Err(PaymentError::WalletFull)));
        assert_books_agree(&shop.db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insufficient_balance_changes_nothing() {
    for shop in testkit::databases().await {
        let (member, order) = (member_with(&shop.db, 500).await, OrderId::new());
        let refused = pay(&shop.db, member, order, 501).await.unwrap_err();
        let PaymentError::InsufficientBalance { balance: left, needed } = refused else { panic!("{refused}") };
        assert_eq!((left, needed), (won(500), won(501)));
        assert_eq!(balance(&shop.db, member).await, 500, "{}", shop.name);
        assert_eq!(shop.db.read(move |conn| payment::payment_of(conn, order)).await.unwrap(), None);
        let stranger = pay(&shop.db, MemberId::new(), order, 1).await.unwrap_err();
        assert!(matches!(stranger, PaymentError::InsufficientBalance { balance: Money::ZERO, .. }), "{stranger}");
        let negative = pay(&shop.db, member, order, -1).await.unwrap_err();
        assert!(matches!(negative, PaymentError::Invalid { .. }), "{negative}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_exactly_one_payment_however_many_try() {
    for shop in testkit::databases().await {
        let (member, order) = (member_with(&shop.db, 10_000).await, OrderId::new());
        let mut payments = JoinSet::new();
        for _ in 0..20 {
            let db = shop.db.clone();
            payments.spawn(async move { pay(&db, member, order, 300).await });
        }
        let results = payments.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{}", shop.name);
        for refused in results.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, PaymentError::AlreadyPaid), "{}: {refused}", shop.name);
        }
        assert_eq!(balance(&shop.db, member).await, 9_700, "{}", shop.name);
        assert_books_agree(&shop.db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_at_the_same_moment_never_spend_more_than_there_is() {
    for shop in testkit::databases().await {
        let member = member_with(&shop.db, 1_000).await;
        let mut payments = JoinSet::new();
        for _ in 0..20 {
            let db = shop.db.clone();
            payments.spawn(async move { pay(&db, member, OrderId::new(), 300).await });
        }
        let results = payments.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3, "{}", shop.name);
        assert_eq!(balance(&shop.db, member).await, 100, "{}", shop.name);
        assert_books_agree(&shop.db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_costs_nothing_is_paid_by_a_member_who_never_charged() {
    for shop in testkit::databases().await {
        let (member, order) = (MemberId::new(), OrderId::new());
        let paid = pay(&shop.db, member, order, 0).await.unwrap();
        assert_eq!((paid.amount, paid.member_id), (Money::ZERO, member), "{}", shop.name);
        assert!(matches!(pay(&shop.db, member, order, 0).await, Err(PaymentError::AlreadyPaid)));
        assert_eq!(refund(&shop.db, order).await.unwrap().amount, Money::ZERO, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_comes_back_once_however_many_try() {
    for shop in testkit::databases().await {
        let (member, order) = (member_with(&shop.db, 1_000).await, OrderId::new());
        assert!(matches!(refund(&shop.db, order).await, Err(PaymentError::NotPaid)));
        let paid = pay(&shop.db, member, order, 400).await.unwrap();
        let mut refunds = JoinSet::new();
        for _ in 0..10 {
            let db = shop.db.clone();
            refunds.spawn(async move { refund(&db, order).await });
        }
        let results = refunds.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{}", shop.name);
        for refused in results.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, PaymentError::AlreadyRefunded), "{}: {refused}", shop.name);
        }
        assert_eq!(balance(&shop.db, member).await, 1_000, "{}", shop.name);
        let kept = shop.db.read(move |conn| payment::payment_of(conn, order)).await.unwrap().unwrap();
        assert_eq!((kept.id, kept.amount, kept.paid_at), (paid.id, won(400), paid.paid_at), "{}", shop.name);
        assert!(kept.refunded_at.is_some());
        assert_books_agree(&shop.db).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallets_transactions_are_paged_from_the_newest_and_lead_to_its_balance() {
    use TransactionKind::{Charge, Payment, Refund};
    for shop in testkit::databases().await {
        let (member, order) = (member_with(&shop.db, 1_000).await, OrderId::new());
        member_with(&shop.db, 77).await;
        pay(&shop.db, member, order, 400).await.unwrap();
        refund(&shop.db, order).await.unwrap();
        charge(&shop.db, member, 5).await.unwrap();

        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = shop.db.read(move |conn| payment::transactions(conn, member, after, 3)).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.into_iter().map(|t| (t.kind, t.amount.minor(), t.balance_after.minor(), t.order_id)));
        }
        let expected = [
            (Charge, 5, 1_005, None),
            (Refund, 400, 1_000, Some(order)),
            (Payment, 400, 600, Some(order)),
            (Charge, 1_000, 1_000, None),
        ];
        assert_eq!(seen, expected, "{}", shop.name);
    }
}
