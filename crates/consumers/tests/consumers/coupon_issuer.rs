use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consumers::coupon_issuer::{IssuerWake, group, outcome};
use contracts::events::{CouponIssueRequested, CouponIssued};
use contracts::{CouponId, MemberId, Money, RequestId};
use coupon::{Coupon, Discount, IssueRequest, IssueStatus, NewCoupon};
use db::Database;
use db::types::Time;
use messaging::{ConsumerOptions, Consumers, Event, InProcess, follow_log};
use testkit::TestDatabase;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::given::{databases, event};

async fn campaign(db: &Database, quantity: i64) -> Coupon {
    let new = NewCoupon {
        name: "opening".into(),
        discount: Discount::Amount(Money::from_minor(1_000)),
        min_order: Money::ZERO,
        quantity,
        opens_at: None,
        closes_at: None,
        valid_days: None,
    };
    db.write(move |tx| coupon::create(tx, &new)).await.expect("a campaign")
}

fn asked(coupon_id: CouponId, position: i64) -> (RequestId, Event) {
    let request_id = RequestId::new();
    let request = CouponIssueRequested { request_id, coupon_id, member_id: MemberId::new(), requested_at: Time::now() };
    (request_id, Event { position, ..event(&request) })
}

/// Requests the coupon for a new member, again as long as every connection is busy.
async fn ask(db: &Database, coupon: CouponId) -> RequestId {
    let (request, member) = (RequestId::new(), MemberId::new());
    loop {
        let unit = move |tx: &mut db::Tx<'_>| {
            let requested_at = tx.now()?;
            let asked =
                CouponIssueRequested { request_id: request, coupon_id: coupon, member_id: member, requested_at };
            messaging::emit(tx, &asked)
        };
        match db.write(unit).await {
            Ok(_) => return request,
            Err(db::Error::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The issuer, hosted on the log as in a shop.
struct Running {
    consumers: Consumers,
    stop: CancellationToken,
}

impl Running {
    async fn on(shop: &TestDatabase, wake: IssuerWake) -> Self {
        let stop = CancellationToken::new();
        tokio::spawn(follow_log(shop.db.clone(), shop.log.clone(), stop.clone()));
        let bus = Arc::new(InProcess::new(shop.db.clone(), shop.log.clone()));
        let options = ConsumerOptions::default();
        let consumers = Consumers::start(shop.db.clone(), shop.log.clone(), bus, vec![group(wake)], options).await;
        Self { consumers: consumers.expect("the issuer runs"), stop }
    }

    async fn stop(self) {
        self.consumers.stop().await;
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_members_at_once_get_an_answer_each_and_the_first_hundred_a_coupon() {
    for shop in testkit::databases().await {
        let wake = IssuerWake::default();
        let running = Running::on(&shop, wake.clone()).await;
        let coupon = campaign(&shop.db, 100).await.id;
        let mut asking = JoinSet::new();
        for _ in 0..2_000 {
            let (db, wake) = (shop.db.clone(), wake.clone());
            asking.spawn(async move {
                let request = ask(&db, coupon).await;
                let ended = outcome(&db, &wake, request, Duration::from_secs(60)).await.expect("an answer");
                ended.unwrap_or_else(|| panic!("{request} has no answer after a minute"))
            });
        }
        let mut results: Vec<IssueRequest> = asking.join_all().await;
        results.sort_by_key(|result| result.position);
        let (winners, others) = results.split_at(100);
        assert!(winners.iter().all(|result| result.status == IssueStatus::Issued), "{}", shop.name);
        assert!(others.iter().all(|result| result.status == IssueStatus::SoldOut), "{}", shop.name);
        let members: HashSet<MemberId> = winners.iter().map(|result| result.member_id).collect();
        assert_eq!(members.len(), 100, "{}", shop.name);
        let found = shop.db.read(move |conn| coupon::reconciliation(conn, coupon)).await.unwrap().unwrap();
        assert!(found.consistent, "{}: {found:?}", shop.name);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_in_the_issuers_process_is_answered_at_once() {
    for given in databases().await {
        let wake = IssuerWake::default();
        let coupon = campaign(&given.db, 1).await.id;
        let (request, event) = asked(coupon, 0);
        let (db, its_wake) = (given.db.clone(), wake.clone());
        let waiting = tokio::spawn(async move {
            let ended = outcome(&db, &its_wake, request, Duration::from_secs(60)).await;
            (ended.expect("an answer").expect("in time"), Instant::now())
        });
        // by now the database is looked at once a second
        tokio::time::sleep(Duration::from_millis(1_800)).await;
        given.handle(group(wake), vec![event]).await;
        let handled = Instant::now();
        let (ended, answered) = waiting.await.expect("no panic");
        assert_eq!(ended.status, IssueStatus::Issued, "{}", given.name);
        let delay = answered.saturating_duration_since(handled);
        assert!(delay < Duration::from_millis(200), "{}: {delay:?}", given.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_in_another_process_is_answered_within_two_seconds() {
    for given in databases().await {
        let coupon = campaign(&given.db, 1).await.id;
        let (request, event) = asked(coupon, 0);
        let db = given.db.clone();
        let waiting =
            tokio::spawn(async move { outcome(&db, &IssuerWake::default(), request, Duration::from_secs(2)).await });
        given.handle(group(IssuerWake::default()), vec![event]).await;
        let ended = waiting.await.expect("no panic").expect("an answer").expect("in time");
        assert_eq!(ended.status, IssueStatus::Issued, "{}", given.name);
    }
}

#[tokio::test]
async fn a_request_that_is_not_decided_in_time_is_still_pending() {
    for given in databases().await {
        let began = Instant::now();
        let wait = Duration::from_millis(300);
        let ended = outcome(&given.db, &IssuerWake::default(), RequestId::new(), wait).await.expect("an answer");
        assert_eq!(ended, None, "{}", given.name);
        assert!((wait..wait * 5).contains(&began.elapsed()), "{}: {:?}", given.name, began.elapsed());
    }
}

#[tokio::test]
async fn a_batch_that_was_rolled_back_wakes_nobody_and_issues_nothing() {
    for given in databases().await {
        let wake = IssuerWake::default();
        let coupon = campaign(&given.db, 1).await.id;
        let (request, event) = asked(coupon, 0);
        let wait = outcome(&given.db, &wake, request, Duration::from_millis(500));
        let handle = given.handle_and_roll_back(group(wake.clone()), vec![event.clone()]);
        let (ended, ()) = futures::future::join(wait, handle).await;
        assert_eq!(ended.expect("an answer"), None, "{}", given.name);
        assert!(given.emitted::<CouponIssued>().is_empty(), "{}", given.name);
        given.handle(group(wake), vec![event]).await;
        assert_eq!(given.emitted::<CouponIssued>().len(), 1, "{}", given.name);
    }
}

#[tokio::test]
async fn what_is_emitted_belongs_to_the_winner_and_counts_from_one() {
    for given in databases().await {
        let coupon = campaign(&given.db, 2).await;
        let events: Vec<Event> = (0..3).map(|position| asked(coupon.id, position).1).collect();
        given.handle(group(IssuerWake::default()), events.clone()).await;
        let issued: Vec<CouponIssued> = given.emitted();
        let ordinals: Vec<i64> = issued.iter().map(|event| event.ordinal).collect();
        assert_eq!(ordinals, [1, 2], "{}", given.name);
        for (issued, event) in issued.iter().zip(&events) {
            let request: CouponIssueRequested = event.decode().expect("a request");
            assert_eq!((issued.request_id, issued.member_id), (request.request_id, request.member_id));
            assert_eq!((issued.coupon_id, &issued.coupon_name), (coupon.id, &coupon.name), "{}", given.name);
        }
    }
}
