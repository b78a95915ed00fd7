//! A database with the domains, and actions of tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use checkout::{CheckoutError, Item, Terms, UnpaidLimit};
use contracts::events::CouponIssueRequested;
use contracts::{CouponId, MemberId, Money, OrderId, OwnedCouponId, ProductId, RequestId};
use coupon::{Discount, NewCoupon, OwnedStatus};
use db::Database;
use db::types::Time;
use messaging::admin::{EventQuery, StoredEvent};
use order::Order;
use payment::Payment;
use stock::NewProduct;
use testkit::TestDatabase;

/// Long enough to be paid in any test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

#[derive(Clone)]
pub(crate) struct Market {
    pub db: Database,
    shop: Arc<TestDatabase>,
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shop.name)
    }
}

/// Returns one market on each kind of database.
pub(crate) async fn markets() -> Vec<Market> {
    let databases = testkit::databases().await;
    databases.into_iter().map(|shop| Market { db: shop.db.clone(), shop: Arc::new(shop) }).collect()
}

pub(crate) fn item(product_id: ProductId, quantity: i64) -> Item {
    Item { product_id, quantity }
}

impl Market {
    pub(crate) async fn product(&self, price: i64, stock: i64) -> ProductId {
        let new = NewProduct::new("tea", Money::from_minor(price), stock, 0).unwrap();
        self.db.write(move |tx| stock::create(tx, &new)).await.unwrap().id
    }

    /// Creates a member with `balance` in the wallet.
    pub(crate) async fn member(&self, balance: i64) -> MemberId {
        let member = MemberId::new();
        if balance > 0 {
            self.charge(member, balance).await;
        }
        member
    }

    pub(crate) async fn charge(&self, member: MemberId, amount: i64) {
        self.db.write(move |tx| payment::charge(tx, member, Money::from_minor(amount))).await.unwrap();
    }

    /// Issues a coupon of 1,000 off to the member.
    pub(crate) async fn coupon_of(&self, member: MemberId) -> OwnedCouponId {
        let new = NewCoupon {
            name: "1,000 off".into(),
            discount: Discount::Amount(Money::from_minor(1_000)),
            min_order: Money::ZERO,
            quantity: 1,
            opens_at: None,
            closes_at: None,
            valid_days: None,
        };
        let coupon = self.db.write(move |tx| coupon::create(tx, &new)).await.unwrap().id;
        self.issue(coupon, member).await
    }

    /// Issues a coupon like the issuer, from the request's event.
    async fn issue(&self, coupon: CouponId, member: MemberId) -> OwnedCouponId {
        let asked = CouponIssueRequested {
            request_id: RequestId::new(),
            coupon_id: coupon,
            member_id: member,
            requested_at: Time::now(),
        };
        self.db.write(move |tx| messaging::emit(tx, &asked)).await.unwrap();
        let requests = self.events(EventQuery { key: Some(coupon.to_string()), ..EventQuery::default() }).await;
        let request = requests.into_iter().next().expect("it was asked for").event;
        let decided = self.db.write(move |tx| {
            let asked: CouponIssueRequested = request.decode().expect("it is a request");
            coupon::issue(tx, &[(&request, asked)])
        });
        decided.await.unwrap()[0].owned_coupon_id.expect("it is the first")
    }

    pub(crate) async fn place(&self, member: MemberId, items: &[Item]) -> Result<Order, CheckoutError> {
        self.place_for(member, items, LONG).await
    }

    pub(crate) async fn place_for(
        &self,
        member: MemberId,
        items: &[Item],
        expires_after: Duration,
    ) -> Result<Order, CheckoutError> {
        let items = items.to_vec();
        self.db.write(move |tx| checkout::place_order(tx, member, &items, None, terms(expires_after))).await
    }

    pub(crate) async fn place_with(
        &self,
        member: MemberId,
        items: &[Item],
        coupon: OwnedCouponId,
        expires_after: Duration,
    ) -> Result<Order, CheckoutError> {
        let items = items.to_vec();
        self.db.write(move |tx| checkout::place_order(tx, member, &items, Some(coupon), terms(expires_after))).await
    }

    pub(crate) async fn pay(&self, member: MemberId, order: OrderId) -> Result<Payment, CheckoutError> {
        self.db.write(move |tx| checkout::pay(tx, member, order)).await
    }

    pub(crate) async fn cancel(&self, member: MemberId, order: OrderId) -> Result<Order, CheckoutError> {
        self.db.write(move |tx| checkout::cancel(tx, member, order)).await
    }

    pub(crate) async fn expire(&self, order: OrderId) -> bool {
        self.db.write(move |tx| checkout::expire(tx, order)).await.unwrap()
    }

    pub(crate) async fn order(&self, id: OrderId) -> Order {
        self.db.read(move |conn| order::get(conn, id)).await.unwrap().expect("it was placed")
    }

    pub(crate) async fn balance(&self, member: MemberId) -> i64 {
        self.db.read(move |conn| payment::balance(conn, member)).await.unwrap().minor()
    }

    pub(crate) async fn available(&self, product: ProductId) -> i64 {
        self.db.read(move |conn| stock::get(conn, product)).await.unwrap().expect("it was created").available
    }

    pub(crate) async fn coupon_status(&self, member: MemberId, coupon: OwnedCouponId) -> OwnedStatus {
        let owned = self.db.read(move |conn| coupon::owned_page(conn, member, None, 100)).await.unwrap();
        owned.into_iter().find(|owned| owned.id == coupon).expect("it was issued").status
    }

    /// Returns the events of a key in the order of ids: types and aggregate versions.
    pub(crate) async fn events_of(&self, key: &str) -> Vec<(&'static str, i64)> {
        let query = EventQuery { key: Some(key.to_owned()), ..EventQuery::default() };
        let mut events = self.events(query).await;
        events.sort_by_key(|stored| stored.event.id);
        events.iter().map(|stored| (known(&stored.event.kind), stored.event.aggregate_version)).collect()
    }

    pub(crate) async fn count_events(&self) -> usize {
        self.events(EventQuery::default()).await.len()
    }

    async fn events(&self, query: EventQuery) -> Vec<StoredEvent> {
        self.db.read(move |conn| messaging::admin::events(conn, &query, 10_000)).await.unwrap()
    }

    pub(crate) async fn assert_books_agree(&self) {
        let found = self.db.read(checkout::audit).await.unwrap();
        assert!(found.is_empty(), "{self}: {found:?}");
    }
}

fn known(kind: &str) -> &'static str {
    const KINDS: [&str; 6] = [
        "shop.order.created",
        "shop.order.cancelled",
        "shop.payment.completed",
        "shop.payment.refunded",
        "shop.stock.deducted",
        "shop.stock.restored",
    ];
    KINDS.into_iter().find(|known| *known == kind).unwrap_or_else(|| panic!("{kind} is not expected here"))
}

/// Returns terms without a limit of unpaid orders.
fn terms(expires_after: Duration) -> Terms {
    Terms { expires_after, unpaid: UnpaidLimit { orders: usize::MAX, units: i64::MAX } }
}
