//! The SQL of the draw: few statements for each batch, each for all rows of the batch.

use std::collections::{HashMap, HashSet};

use contracts::events::CouponIssueRequested;
use contracts::{CouponId, MemberId, OrderId, OwnedCouponId, RequestId};
use db::types::Time;
use db::{Conn, insert_each, on_each};
use diesel::dsl::min;
use diesel::prelude::*;

use crate::model::{Coupon, IssueRequest, IssueStatus, OwnedStatus, RejectReason};
use crate::schema::{coupon, coupon_request, owned_coupon};
use crate::store::CouponRow;

/// Rows or ids for each statement: eleven columns a row stay under SQLite's limit of 32,766 values.
const CHUNK: usize = 1_000;

/// An issued coupon as a row.
#[derive(Insertable)]
#[diesel(table_name = owned_coupon, treat_none_as_default_value = false)]
pub struct OwnedRow {
    pub id: OwnedCouponId,
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    pub request_id: RequestId,
    pub position: i64,
    pub ordinal: i64,
    pub status: OwnedStatus,
    pub order_id: Option<OrderId>,
    pub version: i64,
    pub issued_at: Time,
    pub expires_at: Option<Time>,
}

impl OwnedRow {
    /// Returns the row of coupon number `coupon.issued`, won by the request at `position`.
    pub fn issued(
        (id, position): (OwnedCouponId, i64),
        request: &CouponIssueRequested,
        coupon: &Coupon,
        now: Time,
    ) -> Self {
        Self {
            id,
            coupon_id: coupon.id,
            member_id: request.member_id,
            request_id: request.request_id,
            position,
            ordinal: coupon.issued,
            status: OwnedStatus::Available,
            order_id: None,
            version: 1,
            issued_at: now,
            expires_at: coupon.expiry(now),
        }
    }
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = coupon_request, treat_none_as_default_value = false)]
struct ResultRow {
    request_id: RequestId,
    coupon_id: CouponId,
    member_id: MemberId,
    position: i64,
    status: IssueStatus,
    owned_coupon_id: Option<OwnedCouponId>,
    won_position: Option<i64>,
    reason: Option<RejectReason>,
    requested_at: Time,
    handled_at: Time,
}

impl From<ResultRow> for IssueRequest {
    fn from(row: ResultRow) -> Self {
        Self {
            request_id: row.request_id,
            coupon_id: row.coupon_id,
            member_id: row.member_id,
            position: row.position,
            status: row.status,
            owned_coupon_id: row.owned_coupon_id,
            won_position: row.won_position,
            reason: row.reason,
            requested_at: row.requested_at,
            handled_at: row.handled_at,
        }
    }
}

impl From<&IssueRequest> for ResultRow {
    fn from(result: &IssueRequest) -> Self {
        Self {
            request_id: result.request_id,
            coupon_id: result.coupon_id,
            member_id: result.member_id,
            position: result.position,
            status: result.status,
            owned_coupon_id: result.owned_coupon_id,
            won_position: result.won_position,
            reason: result.reason,
            requested_at: result.requested_at,
            handled_at: result.handled_at,
        }
    }
}

pub(crate) fn by_ids(conn: &mut Conn, ids: &[CouponId]) -> db::Result<HashMap<CouponId, Coupon>> {
    let mut coupons = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(CHUNK) {
        let rows: Vec<CouponRow> =
            on_each!(conn, |c| coupon::table.filter(coupon::id.eq_any(ids)).select(coupon::all_columns).load(c))?;
        for row in rows {
            let coupon = Coupon::try_from(row)?;
            coupons.insert(coupon.id, coupon);
        }
    }
    Ok(coupons)
}

/// Returns the ids of the decided requests among `ids`.
pub(crate) fn decided(conn: &mut Conn, ids: impl Iterator<Item = RequestId>) -> db::Result<HashSet<RequestId>> {
    let ids: Vec<RequestId> = ids.collect();
    let mut decided = HashSet::with_capacity(ids.len());
    for ids in ids.chunks(CHUNK) {
        let found: Vec<RequestId> = on_each!(conn, |c| coupon_request::table
            .filter(coupon_request::request_id.eq_any(ids))
            .select(coupon_request::request_id)
            .load(c))?;
        decided.extend(found);
    }
    Ok(decided)
}

/// Returns the owners among `members`: the owned coupon, and the position of the winning request.
pub(crate) fn owners(
    conn: &mut Conn,
    coupon: CouponId,
    members: impl Iterator<Item = MemberId>,
) -> db::Result<HashMap<MemberId, (OwnedCouponId, i64)>> {
    use owned_coupon as owned;
    let members: Vec<MemberId> = members.collect();
    let mut owners = HashMap::new();
    for members in members.chunks(CHUNK) {
        let found: Vec<(MemberId, OwnedCouponId, i64)> = on_each!(conn, |c| owned::table
            .filter(owned::coupon_id.eq(coupon))
            .filter(owned::member_id.eq_any(members))
            .select((owned::member_id, owned::id, owned::position))
            .load(c))?;
        owners.extend(found.into_iter().map(|(member, id, position)| (member, (id, position))));
    }
    Ok(owners)
}

/// Raises the number of issued coupons. Returns `false` if too few are left, or if the number is no longer `seen`.
pub(crate) fn add_issued(conn: &mut Conn, id: CouponId, seen: i64, count: i64) -> db::Result<bool> {
    let added = diesel::update(coupon::table.find(id))
        .filter(coupon::issued.eq(seen))
        .filter((coupon::issued + count).le(coupon::quantity))
        .set(coupon::issued.eq(coupon::issued + count))
        .execute(conn)?;
    Ok(added == 1)
}

pub(crate) fn insert_owned<'a>(conn: &mut Conn, rows: impl Iterator<Item = &'a OwnedRow>) -> db::Result<()> {
    let rows: Vec<&OwnedRow> = rows.collect();
    for rows in rows.chunks(CHUNK) {
        let _ids: Vec<OwnedCouponId> = insert_each!(&mut *conn, Vec::from(rows), |values| {
            diesel::insert_into(owned_coupon::table).values(values).returning(owned_coupon::id)
        })?;
    }
    Ok(())
}

pub(crate) fn insert_results(conn: &mut Conn, results: &[IssueRequest]) -> db::Result<()> {
    for results in results.chunks(CHUNK) {
        let rows: Vec<ResultRow> = results.iter().map(Into::into).collect();
        let _ids: Vec<RequestId> = insert_each!(&mut *conn, rows, |values| {
            diesel::insert_into(coupon_request::table).values(values).returning(coupon_request::request_id)
        })?;
    }
    Ok(())
}

pub(crate) fn result(conn: &mut Conn, id: RequestId) -> db::Result<Option<IssueRequest>> {
    Ok(coupon_request::table.find(id).first::<ResultRow>(conn).optional()?.map(Into::into))
}

pub(crate) fn results(conn: &mut Conn, ids: &[RequestId]) -> db::Result<Vec<IssueRequest>> {
    let mut results = Vec::new();
    for ids in ids.chunks(CHUNK) {
        let rows: Vec<ResultRow> = on_each!(conn, |c| coupon_request::table
            .filter(coupon_request::request_id.eq_any(ids))
            .select(coupon_request::all_columns)
            .load(c))?;
        results.extend(rows.into_iter().map(IssueRequest::from));
    }
    Ok(results)
}

/// Returns the owners in the order of issue, with the positions of the winning requests.
pub(crate) fn owners_by_ordinal(conn: &mut Conn, coupon: CouponId) -> db::Result<Vec<(MemberId, i64)>> {
    use owned_coupon as owned;
    let by_ordinal = owned::table.filter(owned::coupon_id.eq(coupon)).order(owned::ordinal);
    Ok(by_ordinal.select((owned::member_id, owned::position)).load(conn)?)
}

/// Returns the first `count` distinct members with a valid request, with the position of each member's first request.
pub(crate) fn first_to_take_part(conn: &mut Conn, coupon: CouponId, count: i64) -> db::Result<Vec<(MemberId, i64)>> {
    use coupon_request as request;
    let first: Vec<(MemberId, Option<i64>)> = request::table
        .filter(request::coupon_id.eq(coupon))
        .filter(request::status.ne(IssueStatus::Rejected))
        .group_by(request::member_id)
        .select((request::member_id, min(request::position)))
        .order(min(request::position))
        .limit(count)
        .load(conn)?;
    Ok(first.into_iter().filter_map(|(member, position)| Some((member, position?))).collect())
}

pub(crate) fn results_issued(conn: &mut Conn, coupon: CouponId) -> db::Result<i64> {
    use coupon_request as request;
    let issued =
        request::table.filter(request::coupon_id.eq(coupon)).filter(request::status.eq(IssueStatus::Issued)).count();
    Ok(issued.get_result(conn)?)
}
