//! The first-come draw.

use std::collections::HashSet;
use std::time::Duration;

use contracts::{CouponId, MemberId, RequestId};
use coupon::IssueStatus::{Duplicate, Issued, Rejected, SoldOut};
use coupon::{Availability, CouponError, IssueRequest, NewCoupon, Reconciliation, RejectReason};
use db::types::Time;

use crate::given::{Batch, asked, campaign, create, issue, reconciled, statuses, try_issue};

/// `n` requests of as many members, at positions from `first`.
fn requests(coupon: CouponId, first: i64, n: i64) -> Batch {
    (first..first + n).map(|position| (position, asked(coupon, MemberId::new()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_thousand_requests_the_first_hundred_members_by_position_win() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(100)).await.id;
        let mut batch = requests(coupon, 0, 2_000);
        // every tenth is by the member before it
        for n in (10..2_000).step_by(10) {
            batch[n].1.member_id = batch[n - 1].1.member_id;
        }
        let mut expected: Vec<MemberId> = Vec::new();
        for (_, request) in &batch {
            if expected.len() < 100 && !expected.contains(&request.member_id) {
                expected.push(request.member_id);
            }
        }
        let mut results = Vec::new();
        for chunk in batch.chunks(500) {
            results.extend(issue(&shop.db, chunk.to_vec()).await);
        }
        assert_eq!(results.len(), 2_000, "every request has a result");
        let winners: Vec<MemberId> =
            results.iter().filter(|result| result.status == Issued).map(|result| result.member_id).collect();
        assert_eq!(winners, expected, "{}", shop.name);
        let sound =
            Reconciliation { limit: 100, issued: 100, distinct_members: 100, in_log_order: true, consistent: true };
        assert_eq!(reconciled(&shop.db, coupon).await, sound);
        for (_, request) in batch.iter().step_by(97) {
            let id = request.request_id;
            let stored = shop.db.read(move |conn| coupon::request(conn, id)).await.unwrap();
            assert_eq!(stored.as_ref(), results.iter().find(|result| result.request_id == id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_any_statement_is_decided_all_the_same() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(2_500)).await.id;
        let results = issue(&shop.db, requests(coupon, 0, 3_000)).await;
        assert_eq!(results.iter().filter(|result| result.status == Issued).count(), 2_500);
        assert!(reconciled(&shop.db, coupon).await.consistent, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_decide_and_not_the_order_in_the_batch() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(2)).await.id;
        let mut batch = requests(coupon, 5, 4);
        batch.reverse();
        let results = issue(&shop.db, batch).await;
        let positions: Vec<i64> = results.iter().map(|result| result.position).collect();
        assert_eq!((positions, statuses(&results)), (vec![5, 6, 7, 8], vec![Issued, Issued, SoldOut, SoldOut]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_by_the_same_member_leads_to_the_coupon_and_position_that_won() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(1)).await.id;
        let member = MemberId::new();
        let first = issue(&shop.db, vec![(3, asked(coupon, member)), (4, asked(coupon, member))]).await;
        let later = issue(&shop.db, vec![(9, asked(coupon, MemberId::new())), (10, asked(coupon, member))]).await;
        assert_eq!([statuses(&first), statuses(&later)], [[Issued, Duplicate], [SoldOut, Duplicate]]);
        for repeat in [&first[1], &later[1]] {
            assert_eq!((repeat.owned_coupon_id, repeat.won_position), (first[0].owned_coupon_id, Some(3)));
        }
        assert!(reconciled(&shop.db, coupon).await.consistent, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_after_the_last_one_is_told_that_all_are_gone() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(1)).await;
        assert_eq!(coupon.availability(Time::now()), Availability::Open);
        assert_eq!(statuses(&issue(&shop.db, requests(coupon.id, 0, 2)).await), [Issued, SoldOut]);
        assert_eq!(statuses(&issue(&shop.db, requests(coupon.id, 2, 1)).await), [SoldOut]);
        let id = coupon.id;
        let availability = shop.db.read(move |conn| coupon::availability(conn, id)).await.unwrap();
        assert_eq!(availability, Some(Availability::SoldOut), "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_request_and_not_of_its_handling_tells_whether_the_coupon_was_open() {
    for shop in testkit::databases().await {
        let minute = Duration::from_secs(60);
        let (opens_at, closes_at) = (Time::now() - minute * 60, Time::now() - minute * 30);
        let window = NewCoupon { opens_at: Some(opens_at), closes_at: Some(closes_at), ..campaign(10) };
        let coupon = create(&shop.db, window).await;
        assert_eq!(coupon.availability(Time::now()), Availability::Closed);
        let instant = Duration::from_micros(1);
        let times = [opens_at - instant, opens_at, closes_at - instant, closes_at];
        let mut batch = requests(coupon.id, 0, 4);
        for ((_, request), time) in batch.iter_mut().zip(times) {
            request.requested_at = time;
        }
        let results = issue(&shop.db, batch).await;
        assert_eq!(statuses(&results), [Rejected, Issued, Issued, Rejected]);
        assert_eq!(results[0].reason, Some(RejectReason::NotYetOpen));
        assert_eq!(results[3].reason, Some(RejectReason::Closed));
        assert!(reconciled(&shop.db, coupon.id).await.consistent, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_too_early_does_not_spoil_the_next_one() {
    for shop in testkit::databases().await {
        let opens_at = Time::now() - Duration::from_secs(60);
        let coupon = create(&shop.db, NewCoupon { opens_at: Some(opens_at), ..campaign(1) }).await.id;
        let member = MemberId::new();
        let mut early = asked(coupon, member);
        early.requested_at = opens_at - Duration::from_secs(1);
        let results = issue(&shop.db, vec![(0, early), (1, asked(coupon, member))]).await;
        assert_eq!(statuses(&results), [Rejected, Issued]);
        assert!(reconciled(&shop.db, coupon).await.consistent, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_coupon_that_is_not_there_is_rejected_with_the_reason() {
    for shop in testkit::databases().await {
        let request = asked(CouponId::new(), MemberId::new());
        let id = request.request_id;
        issue(&shop.db, vec![(0, request)]).await;
        let stored = shop.db.read(move |conn| coupon::request(conn, id)).await.unwrap().expect("a result");
        assert_eq!((stored.status, stored.reason), (Rejected, Some(RejectReason::UnknownCoupon)), "{}", shop.name);
        let unknown = shop.db.read(|conn| coupon::request(conn, RequestId::new())).await.unwrap();
        assert_eq!(unknown, None, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_twice_changes_nothing_the_second_time() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(2)).await.id;
        let batch = requests(coupon, 0, 4);
        let first = issue(&shop.db, batch.clone()).await;
        let (before, mut more) = (reconciled(&shop.db, coupon).await, batch);
        more.extend(requests(coupon, 4, 1));
        let second = issue(&shop.db, more).await;
        assert_eq!(statuses(&second), [SoldOut], "only what is new has a result");
        assert_eq!(reconciled(&shop.db, coupon).await, before, "{}", shop.name);
        let id = first[0].request_id;
        let stored = shop.db.read(move |conn| coupon::request(conn, id)).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&first[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_leaves_nothing_and_wins_the_same_when_it_is_tried_again() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(2)).await.id;
        let batch = requests(coupon, 0, 3);
        let events: Vec<_> = batch.iter().map(|(position, r)| crate::given::logged(*position, r)).collect();
        let requests = batch.clone();
        let failed: Result<(), coupon::CouponError> = shop
            .db
            .write(move |tx| {
                let requests: Vec<_> = events.iter().zip(requests.iter().map(|(_, r)| r.clone())).collect();
                coupon::issue(tx, &requests)?;
                Err(coupon::CouponError::NotFound)
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(reconciled(&shop.db, coupon).await.issued, 0);
        assert_eq!(statuses(&issue(&shop.db, batch).await), [Issued, Issued, SoldOut]);
        assert!(reconciled(&shop.db, coupon).await.consistent, "{}", shop.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_in_one_batch_do_not_take_from_each_other() {
    for shop in testkit::databases().await {
        let (a, b) = (create(&shop.db, campaign(2)).await.id, create(&shop.db, campaign(1)).await.id);
        let members = [MemberId::new(), MemberId::new(), MemberId::new()];
        let mut batch: Batch = Vec::new();
        for member in members {
            for coupon in [a, b, CouponId::new()] {
                batch.push((batch.len() as i64, asked(coupon, member)));
            }
        }
        let results = issue(&shop.db, batch).await;
        let of = |coupon: CouponId| -> Vec<IssueRequest> {
            results.iter().filter(|result| result.coupon_id == coupon).cloned().collect()
        };
        assert_eq!(statuses(&of(a)), [Issued, Issued, SoldOut]);
        assert_eq!(statuses(&of(b)), [Issued, SoldOut, SoldOut]);
        assert_eq!(results.iter().filter(|result| result.status == Rejected).count(), 3);
        for coupon in [a, b] {
            assert!(reconciled(&shop.db, coupon).await.consistent, "{}", shop.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_at_once_never_issue_more_than_there_are_nor_one_for_another() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(25)).await.id;
        // a frozen issuer that wakes late is fenced off by its position; the data holds even without that
        let at_once = (0..8).map(|n| try_issue(&shop.db, requests(coupon, n * 10, 10)));
        let (decided, refused): (Vec<_>, Vec<_>) =
            futures::future::join_all(at_once).await.into_iter().partition(Result::is_ok);
        for refusal in refused {
            assert!(matches!(refusal, Err(CouponError::Contended(_))), "{}: {refusal:?}", shop.name);
        }
        let issued: HashSet<MemberId> = decided
            .iter()
            .flatten()
            .flatten()
            .filter(|result| result.status == Issued)
            .map(|result| result.member_id)
            .collect();
        let found = reconciled(&shop.db, coupon).await;
        assert!(found.issued <= 25, "{}", shop.name);
        assert_eq!((found.issued, found.distinct_members), (issued.len() as i64, issued.len() as i64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issue_out_of_log_order_shows_in_the_reconciliation() {
    for shop in testkit::databases().await {
        let coupon = create(&shop.db, campaign(1)).await.id;
        issue(&shop.db, requests(coupon, 7, 1)).await;
        issue(&shop.db, requests(coupon, 3, 1)).await;
        let found = reconciled(&shop.db, coupon).await;
        assert!(!found.in_log_order && !found.consistent, "{}", shop.name);
    }
}
