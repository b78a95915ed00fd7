//! Fixtures: fresh databases that keep emitted events, hand-made events, and runs of handlers.

use std::sync::Arc;

use contracts::events::{CancelReason, OrderCancelled, OrderCreated, OrderLine, PaymentCompleted, PaymentRefunded};
use parking_lot::Mutex;

use contracts::{MemberId, Money, OrderId, PaymentId, ProductId};
use db::types::{Id, Time};
use db::{Conn, Database, Options, Recorded, Recorder, Staged, Tx};
use messaging::{DomainEvent, Event, Group, Handler, HandlerError, Replay};
use testkit::Place;

/// A migrated database, and the events of its committed units.
pub(super) struct Given {
    pub name: &'static str,
    pub db: Database,
    emitted: Emitted,
    _place: Place,
}

#[derive(Clone, Default)]
struct Emitted(Arc<Mutex<Vec<Staged>>>);

impl Recorder for Emitted {
    fn record(&self, _conn: &mut Conn, records: Vec<Staged>) -> db::Result<Recorded> {
        let kept = self.0.clone();
        let wake = Box::new(move || kept.lock().extend(records));
        Ok(Recorded { wake, is_there: Box::new(|_| Ok(true)) })
    }
}

/// Returns one database of each kind.
pub(super) async fn databases() -> Vec<Given> {
    let mut databases = Vec::new();
    for place in testkit::places().await {
        let emitted = Emitted::default();
        let opened =
            Database::open(Options::new(place.url.clone()), &contracts::MIGRATIONS, Arc::new(emitted.clone())).await;
        let db = opened.unwrap_or_else(|e| panic!("{} opens: {e}", place.name));
        databases.push(Given { name: place.name, db, emitted, _place: place });
    }
    databases
}

impl Given {
    /// Returns the emitted events of a type, and forgets these events.
    pub(super) fn emitted<E: DomainEvent>(&self) -> Vec<E> {
        let mut all = self.emitted.0.lock();
        let (wanted, others) = std::mem::take(&mut *all).into_iter().partition(|staged| staged.kind == E::TYPE);
        *all = others;
        let wanted: Vec<Staged> = wanted;
        wanted.iter().map(|staged| serde_json::from_str(&staged.payload).expect("an event reads")).collect()
    }

    /// Lets the group's handler handle the batch in a separate unit.
    pub(super) async fn handle(&self, group: Group, events: Vec<Event>) {
        let name = group.name;
        self.try_handle(group, events).await.unwrap_or_else(|e| panic!("{name} on {}: {e:?}", self.name));
    }

    /// Handles a batch like [`Given::handle`]; the handler may refuse the batch.
    pub(super) async fn try_handle(&self, group: Group, events: Vec<Event>) -> Result<(), Refused> {
        self.db.write(move |tx| run(&group, tx, &events)).await
    }

    /// Lets the handler handle the batch, and then rolls the unit back.
    pub(super) async fn handle_and_roll_back(&self, group: Group, events: Vec<Event>) {
        let rolled_back = self.db.write(move |tx| {
            run(&group, tx, &events)?;
            Err::<(), _>(Refused("rolled back".into()))
        });
        assert_eq!(rolled_back.await.unwrap_err().0, "rolled back");
    }

    /// Handles several batches at the same time, each in a separate unit.
    pub(super) async fn handle_at_once(&self, group: fn() -> Group, batches: Vec<Vec<Event>>) {
        futures::future::join_all(batches.into_iter().map(|batch| self.handle(group(), batch))).await;
    }

    /// Clears the projection as a reset does.
    pub(super) async fn clear(&self, group: Group) {
        let Replay::Rebuildable(clear) = group.replay else { panic!("{} is no projection", group.name) };
        self.db.write(clear).await.expect("cleared");
    }

    /// Returns the result of a query.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&mut Conn) -> db::Result<T> + Send + 'static,
    ) -> T {
        self.db.read(query).await.expect("read")
    }
}

/// Reason of a handler's rolled-back unit.
#[derive(Debug)]
pub(super) struct Refused(pub String);

impl From<db::Error> for Refused {
    fn from(error: db::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<HandlerError> for Refused {
    fn from(error: HandlerError) -> Self {
        Self(error.to_string())
    }
}

fn run(group: &Group, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), Refused> {
    let Handler::Transactional(handler) = &group.handler else { panic!("{} acts on the world outside", group.name) };
    Ok(handler.handle(tx, events)?)
}

/// Returns the event as read from the log; handlers ignore the position.
pub(super) fn event<E: DomainEvent>(event: &E) -> Event {
    Event {
        id: Id::new(),
        source: Id::new(),
        epoch: messaging::FIRST_EPOCH,
        topic: E::TOPIC.into(),
        partition: 0,
        position: 0,
        key: event.key(),
        kind: E::TYPE.into(),
        version: E::VERSION,
        aggregate_version: event.aggregate_version(),
        occurred_at: Time::now(),
        traceparent: None,
        payload: serde_json::to_string(event).expect("an event writes"),
    }
}

/// Parses a time in RFC 3339.
pub(super) fn time(text: &str) -> Time {
    text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time").into()
}

pub(super) fn date(text: &str) -> chrono::NaiveDate {
    text.parse().expect("a date")
}

pub(super) fn won(minor: i64) -> Money {
    Money::from_minor(minor)
}

/// Returns all permutations of `items`.
pub(super) fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let chosen = rest.remove(first);
        for mut tail in permutations(&rest) {
            tail.insert(0, chosen.clone());
            all.push(tail);
        }
    }
    all
}

/// A hypothetical order and the events of the order's life.
#[derive(Clone)]
pub(super) struct Purchase {
    pub order_id: OrderId,
    pub member_id: MemberId,
    pub payment_id: PaymentId,
    pub lines: Vec<OrderLine>,
    pub discount: Money,
}

impl Purchase {
    pub(super) fn of(product_id: ProductId, quantity: i64, price: i64) -> Self {
        let line = OrderLine { product_id, name: "tea".into(), price: won(price), quantity };
        Self {
            order_id: OrderId::new(),
            member_id: MemberId::new(),
            payment_id: PaymentId::new(),
            lines: vec![line],
            discount: Money::ZERO,
        }
    }

    pub(super) fn discounted(mut self, minor: i64) -> Self {
        self.discount = won(minor);
        self
    }

    fn total(&self) -> Money {
        won(self.lines.iter().map(|line| line.price.minor() * line.quantity).sum())
    }

    fn payable(&self) -> Money {
        self.total().subtract(self.discount).expect("in range")
    }

    pub(super) fn created(&self, at: Time) -> Event {
        event(&OrderCreated {
            order_id: self.order_id,
            order_version: 1,
            member_id: self.member_id,
            lines: self.lines.clone(),
            total: self.total(),
            discount: self.discount,
            payable: self.payable(),
            owned_coupon_id: None,
            created_at: at,
            expires_at: at,
        })
    }

    pub(super) fn paid(&self, at: Time) -> Event {
        event(&PaymentCompleted {
            payment_id: self.payment_id,
            order_id: self.order_id,
            order_version: 2,
            member_id: self.member_id,
            lines: self.lines.clone(),
            total: self.total(),
            discount: self.discount,
            amount: self.payable(),
            paid_at: at,
        })
    }

    /// Returns the cancellation before the payment.
    pub(super) fn cancelled(&self, at: Time) -> Event {
        self.ended(CancelReason::Cancelled, 2, at)
    }

    /// Returns the end of the order by a refund.
    pub(super) fn cancelled_after_payment(&self, at: Time) -> Event {
        self.ended(CancelReason::Refunded, 3, at)
    }

    fn ended(&self, reason: CancelReason, order_version: i64, cancelled_at: Time) -> Event {
        let lines = self.lines.clone();
        let (order_id, member_id) = (self.order_id, self.member_id);
        event(&OrderCancelled { order_id, order_version, member_id, reason, lines, cancelled_at })
    }

    pub(super) fn refunded(&self, paid_at: Time, refunded_at: Time) -> Event {
        event(&PaymentRefunded {
            payment_id: self.payment_id,
            order_id: self.order_id,
            order_version: 3,
            member_id: self.member_id,
            lines: self.lines.clone(),
            amount: self.payable(),
            paid_at,
            refunded_at,
        })
    }
}
