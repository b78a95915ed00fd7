//! The first-come draw: requests in the order of the log, and who wins.

use std::collections::{BTreeMap, HashMap, HashSet};

use contracts::events::{CouponIssueRequested, CouponIssued};
use contracts::{CouponId, MemberId, OwnedCouponId, RequestId};
use db::types::Time;
use db::{Conn, Tx};

use crate::error::CouponError;
use crate::model::{Coupon, IssueRequest, IssueStatus, Reconciliation, RejectReason};
use crate::store::issuing as store;
use crate::store::issuing::OwnedRow;

/// Puts a request for a coupon on the bus. It is decided by [`issue`], whatever [`crate::availability`] says now.
///
/// # Errors
/// Whatever the database says.
pub fn request_issue(
    tx: &mut Tx<'_>,
    request: RequestId,
    coupon: CouponId,
    member: MemberId,
) -> Result<(), CouponError> {
    let requested_at = tx.now()?;
    let event = CouponIssueRequested { request_id: request, coupon_id: coupon, member_id: member, requested_at };
    messaging::emit(tx, &event)?;
    Ok(())
}

/// Decides requests, each with its position in the log, and returns how each ended.
///
/// Per coupon the first distinct members by position win, as long as there are coupons. A request that was decided
/// before is left as it was, and is not among the results. The requests may be of several coupons.
///
/// # Errors
/// [`CouponError::Contended`] when somebody else issues the same coupon at the same time.
pub fn issue(tx: &mut Tx<'_>, requests: &[(i64, CouponIssueRequested)]) -> Result<Vec<IssueRequest>, CouponError> {
    let now = tx.now()?;
    let by_coupon = undecided_by_coupon(tx, requests)?;
    let ids: Vec<CouponId> = by_coupon.keys().copied().collect();
    let mut coupons = store::by_ids(tx, &ids)?;
    let (mut results, mut winners) = (Vec::with_capacity(requests.len()), Vec::new());
    for (id, requests) in by_coupon {
        let Some(coupon) = coupons.remove(&id) else {
            results.extend(requests.iter().map(|request| rejected(request, RejectReason::UnknownCoupon, now)));
            continue;
        };
        let owners = store::owners(tx, id, requests.iter().map(|(_, request)| request.member_id))?;
        let mut draw = Draw { coupon, owners, won: Vec::new(), now };
        results.extend(requests.iter().map(|request| draw.decide(request)));
        if !draw.won.is_empty() {
            if !store::add_issued(tx, id, draw.won.len())? {
                return Err(CouponError::Contended(id));
            }
            winners.push(draw);
        }
    }
    store::insert_owned(tx, winners.iter().flat_map(|draw| &draw.won))?;
    store::insert_results(tx, &results)?;
    for draw in &winners {
        draw.won.iter().try_for_each(|owned| announce(tx, &draw.coupon, owned))?;
    }
    Ok(results)
}

type Request<'a> = (i64, &'a CouponIssueRequested);

/// The requests that have no result yet, by coupon, in the order of the log.
fn undecided_by_coupon<'a>(
    tx: &mut Tx<'_>,
    requests: &'a [(i64, CouponIssueRequested)],
) -> db::Result<BTreeMap<CouponId, Vec<Request<'a>>>> {
    let mut seen: HashSet<RequestId> = store::decided(tx, requests.iter().map(|(_, request)| request.request_id))?;
    let mut in_order: Vec<Request<'a>> = requests.iter().map(|(position, request)| (*position, request)).collect();
    in_order.sort_by_key(|(position, _)| *position);
    let mut by_coupon: BTreeMap<CouponId, Vec<Request<'a>>> = BTreeMap::new();
    for (position, request) in in_order {
        if seen.insert(request.request_id) {
            by_coupon.entry(request.coupon_id).or_default().push((position, request));
        }
    }
    Ok(by_coupon)
}

/// The draw of one coupon, as far as it has come.
struct Draw {
    coupon: Coupon,
    /// Who has one, and the position that won it.
    owners: HashMap<MemberId, (OwnedCouponId, i64)>,
    won: Vec<OwnedRow>,
    now: Time,
}

impl Draw {
    /// Whoever has one keeps it, whenever the repeat was made; then the window counts, then what is left.
    fn decide(&mut self, request: &Request<'_>) -> IssueRequest {
        let (position, event) = *request;
        if let Some((owned, won_position)) = self.owners.get(&event.member_id) {
            let won = Some((*owned, *won_position));
            return result(request, IssueStatus::Duplicate, won, None, self.now);
        }
        if let Some(reason) = self.coupon.closed_at(event.requested_at) {
            return rejected(request, reason, self.now);
        }
        if self.coupon.remaining() <= 0 {
            return result(request, IssueStatus::SoldOut, None, None, self.now);
        }
        let owned = self.win(request);
        result(request, IssueStatus::Issued, Some((owned, position)), None, self.now)
    }

    fn win(&mut self, (position, event): &Request<'_>) -> OwnedCouponId {
        let id = OwnedCouponId::new();
        self.coupon.issued += 1;
        self.owners.insert(event.member_id, (id, *position));
        self.won.push(OwnedRow::issued(id, *position, event, &self.coupon, self.now));
        id
    }
}

fn rejected(request: &Request<'_>, reason: RejectReason, now: Time) -> IssueRequest {
    result(request, IssueStatus::Rejected, None, Some(reason), now)
}

fn result(
    (position, event): &Request<'_>,
    status: IssueStatus,
    won: Option<(OwnedCouponId, i64)>,
    reason: Option<RejectReason>,
    now: Time,
) -> IssueRequest {
    IssueRequest {
        request_id: event.request_id,
        coupon_id: event.coupon_id,
        member_id: event.member_id,
        position: *position,
        status,
        owned_coupon_id: won.map(|(owned, _)| owned),
        won_position: won.map(|(_, position)| position),
        reason,
        requested_at: event.requested_at,
        handled_at: now,
    }
}

fn announce(tx: &mut Tx<'_>, coupon: &Coupon, owned: &OwnedRow) -> db::Result<()> {
    let event = CouponIssued {
        owned_coupon_id: owned.id,
        owned_coupon_version: owned.version,
        coupon_id: coupon.id,
        coupon_name: coupon.name.clone(),
        member_id: owned.member_id,
        request_id: owned.request_id,
        ordinal: owned.ordinal,
        issued_at: owned.issued_at,
        expires_at: owned.expires_at,
    };
    messaging::emit(tx, &event).map(drop)
}

/// How a request ended; `None` while it is not decided.
///
/// # Errors
/// Whatever the database says.
pub fn request(conn: &mut Conn, id: RequestId) -> db::Result<Option<IssueRequest>> {
    store::result(conn, id)
}

/// Holds the coupon's counter, owners and results against each other. `None` when there is no such coupon.
///
/// It reads every request of the coupon.
///
/// # Errors
/// Whatever the database says.
pub fn reconciliation(conn: &mut Conn, id: CouponId) -> db::Result<Option<Reconciliation>> {
    let Some(coupon) = crate::store::by_id(conn, id)? else {
        return Ok(None);
    };
    let owners = store::owners_by_ordinal(conn, id)?;
    let first = store::first_to_take_part(conn, id, coupon.quantity)?;
    let results_issued = store::results_issued(conn, id)?;
    let distinct: HashSet<MemberId> = owners.iter().map(|(member, _)| *member).collect();
    let in_log_order = owners == first;
    let counts = [coupon.issued, results_issued, distinct.len() as i64];
    let issued = owners.len() as i64;
    Ok(Some(Reconciliation {
        limit: coupon.quantity,
        issued,
        distinct_members: distinct.len() as i64,
        in_log_order,
        consistent: in_log_order && issued <= coupon.quantity && counts.iter().all(|count| *count == issued),
    }))
}
