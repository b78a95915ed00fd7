//! Fixtures of the tests.

use contracts::events::CouponIssueRequested;
use contracts::{CouponId, MemberId, Money, OwnedCouponId, RequestId, topics};
use coupon::{Coupon, CouponError, Discount, IssueRequest, IssueStatus, NewCoupon, Reconciliation};
use db::Database;
use db::types::{Id, Time};
use messaging::{DomainEvent, Event};

pub(crate) fn won(amount: i64) -> Money {
    Money::from_minor(amount)
}

/// Returns a campaign of `quantity` coupons, 1,000 won off, without opening and closing times.
pub(crate) fn campaign(quantity: i64) -> NewCoupon {
    NewCoupon {
        name: "opening".into(),
        discount: Discount::Amount(won(1_000)),
        min_order: Money::ZERO,
        quantity,
        opens_at: None,
        closes_at: None,
        valid_days: None,
    }
}

pub(crate) async fn create(db: &Database, new: NewCoupon) -> Coupon {
    db.write(move |tx| coupon::create(tx, &new)).await.expect("a campaign")
}

pub(crate) fn asked(coupon_id: CouponId, member_id: MemberId) -> CouponIssueRequested {
    CouponIssueRequested { request_id: RequestId::new(), coupon_id, member_id, requested_at: Time::now() }
}

/// Returns the request as an event of the log.
pub(crate) fn logged(position: i64, request: &CouponIssueRequested) -> Event {
    Event {
        id: Id::new(),
        source: Id::new(),
        epoch: messaging::FIRST_EPOCH,
        topic: topics::COUPON_ISSUE_REQUESTED.into(),
        partition: 0,
        position,
        key: request.key(),
        kind: CouponIssueRequested::TYPE.into(),
        version: CouponIssueRequested::VERSION,
        aggregate_version: 0,
        occurred_at: request.requested_at,
        traceparent: None,
        payload: String::new(),
    }
}

pub(crate) type Batch = Vec<(i64, CouponIssueRequested)>;

/// Hands a batch to the draw, as the issuer does.
pub(crate) async fn try_issue(db: &Database, batch: Batch) -> Result<Vec<IssueRequest>, CouponError> {
    let events: Vec<Event> = batch.iter().map(|(position, request)| logged(*position, request)).collect();
    db.write(move |tx| {
        let requests: Vec<_> = events.iter().zip(batch.iter().map(|(_, request)| request.clone())).collect();
        coupon::issue(tx, &requests)
    })
    .await
}

pub(crate) async fn issue(db: &Database, batch: Batch) -> Vec<IssueRequest> {
    try_issue(db, batch).await.expect("the batch is decided")
}

/// Creates a campaign and a member with a coupon.
pub(crate) async fn owner_of(db: &Database, new: NewCoupon) -> (MemberId, OwnedCouponId) {
    let member = MemberId::new();
    let coupon = create(db, new).await;
    let results = issue(db, vec![(0, asked(coupon.id, member))]).await;
    (member, results[0].owned_coupon_id.expect("a coupon"))
}

pub(crate) async fn reconciled(db: &Database, id: CouponId) -> Reconciliation {
    db.read(move |conn| coupon::reconciliation(conn, id)).await.expect("a reading").expect("a campaign")
}

pub(crate) fn statuses(results: &[IssueRequest]) -> Vec<IssueStatus> {
    results.iter().map(|result| result.status).collect()
}
