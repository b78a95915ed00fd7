//! The first-come draw: decides requests in the order of the log.

use std::collections::{BTreeMap, HashMap, HashSet};

use contracts::events::{CouponIssueRequested, CouponIssued};
use contracts::{CouponId, MemberId, OwnedCouponId, RequestId};
use db::types::Time;
use db::{Conn, Tx};
use messaging::Event;

use crate::error::CouponError;
use crate::model::{Coupon, IssueRequest, IssueStatus, Reconciliation, RejectReason};
use crate::store::issuing as store;
use crate::store::issuing::OwnedRow;

/// Decides requests, each with the request's event, and returns the outcomes.
///
/// The first distinct members by position win a coupon, as long as there are coupons. Already decided requests stay
/// unchanged, and are not among the results. The requests may be for several coupons.
///
/// # Errors
/// [`CouponError::Contended`] if another unit issues the same coupon at the same time.
pub fn issue(tx: &mut Tx<'_>, requests: &[(&Event, CouponIssueRequested)]) -> Result<Vec<IssueRequest>, CouponError> {
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
            let count = draw.won.len() as i64;
            if !store::add_issued(tx, id, draw.coupon.issued - count, count)? {
                return Err(CouponError::Contended(id));
            }
            winners.push(draw);
        }
    }
    store::insert_owned(tx, winners.iter().flat_map(|draw| &draw.won).map(|(owned, _)| owned))?;
    store::insert_results(tx, &results)?;
    for draw in &winners {
        draw.won.iter().try_for_each(|(owned, cause)| announce(tx, &draw.coupon, owned, cause))?;
    }
    Ok(results)
}

type Request<'a> = (&'a Event, &'a CouponIssueRequested);

/// Returns the undecided requests by coupon, in the order of the log.
fn undecided_by_coupon<'a>(
    tx: &mut Tx<'_>,
    requests: &'a [(&'a Event, CouponIssueRequested)],
) -> db::Result<BTreeMap<CouponId, Vec<Request<'a>>>> {
    let mut seen: HashSet<RequestId> = store::decided(tx, requests.iter().map(|(_, request)| request.request_id))?;
    let mut in_order: Vec<Request<'a>> = requests.iter().map(|(event, request)| (*event, request)).collect();
    in_order.sort_by_key(|(event, _)| event.position);
    let mut by_coupon: BTreeMap<CouponId, Vec<Request<'a>>> = BTreeMap::new();
    for (event, request) in in_order {
        if seen.insert(request.request_id) {
            by_coupon.entry(request.coupon_id).or_default().push((event, request));
        }
    }
    Ok(by_coupon)
}

/// The running draw of one coupon.
struct Draw<'a> {
    coupon: Coupon,
    /// Owners of the coupon, and the positions of the winning requests.
    owners: HashMap<MemberId, (OwnedCouponId, i64)>,
    won: Vec<(OwnedRow, &'a Event)>,
    now: Time,
}

impl<'a> Draw<'a> {
    /// Decides a request. An owner keeps the coupon, for a repeat at any time; then the window counts, and then the
    /// number left.
    fn decide(&mut self, request: &Request<'a>) -> IssueRequest {
        let (event, asked) = *request;
        if let Some(won) = self.owners.get(&asked.member_id) {
            return result(request, IssueStatus::Duplicate, Some(*won), None, self.now);
        }
        if let Some(reason) = self.coupon.closed_at(asked.requested_at) {
            return rejected(request, reason, self.now);
        }
        if self.coupon.remaining() <= 0 {
            return result(request, IssueStatus::SoldOut, None, None, self.now);
        }
        let won = (OwnedCouponId::new(), event.position);
        self.coupon.issued += 1;
        self.owners.insert(asked.member_id, won);
        self.won.push((OwnedRow::issued(won, asked, &self.coupon, self.now), event));
        result(request, IssueStatus::Issued, Some(won), None, self.now)
    }
}

fn rejected(request: &Request<'_>, reason: RejectReason, now: Time) -> IssueRequest {
    result(request, IssueStatus::Rejected, None, Some(reason), now)
}

fn result(
    (event, asked): &Request<'_>,
    status: IssueStatus,
    won: Option<(OwnedCouponId, i64)>,
    reason: Option<RejectReason>,
    now: Time,
) -> IssueRequest {
    IssueRequest {
        request_id: asked.request_id,
        coupon_id: asked.coupon_id,
        member_id: asked.member_id,
        position: event.position,
        status,
        owned_coupon_id: won.map(|(owned, _)| owned),
        won_position: won.map(|(_, position)| position),
        reason,
        requested_at: asked.requested_at,
        handled_at: now,
    }
}

fn announce(tx: &mut Tx<'_>, coupon: &Coupon, owned: &OwnedRow, cause: &Event) -> db::Result<()> {
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
    messaging::emit_because(tx, cause, &event).map(drop)
}

/// Returns the outcome of a request; `None` for an undecided request.
///
/// # Errors
/// Any error of the database.
pub fn request(conn: &mut Conn, id: RequestId) -> db::Result<Option<IssueRequest>> {
    store::result(conn, id)
}

/// Returns a member's coupon of a campaign, if any.
///
/// # Errors
/// Any error of the database.
pub fn owned_by(conn: &mut Conn, id: CouponId, member: MemberId) -> db::Result<Option<OwnedCouponId>> {
    Ok(store::owners(conn, id, std::iter::once(member))?.remove(&member).map(|(owned, _)| owned))
}

/// Returns the outcomes of several requests like [`request`], without the undecided requests.
///
/// # Errors
/// Any error of the database.
pub fn requests(conn: &mut Conn, ids: &[RequestId]) -> db::Result<Vec<IssueRequest>> {
    store::results(conn, ids)
}

/// Holds the coupon's counter, owners and results against each other. `None` when there is no such coupon.
///
/// Reads every request for the coupon.
///
/// # Errors
/// Any error of the database.
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
