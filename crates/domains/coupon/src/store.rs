//! The SQL of campaigns and of coupons in members' hands.

pub(crate) mod issuing;

use contracts::{CouponId, MemberId, Money, OrderId, OwnedCouponId};
use db::Conn;
use db::types::Time;
use diesel::prelude::*;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::model::{Coupon, Discount, OwnedCoupon, OwnedStatus};
use crate::schema::{coupon, owned_coupon};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = coupon, treat_none_as_default_value = false)]
pub struct CouponRow {
    id: CouponId,
    name: String,
    percent_hundredths: Option<i32>,
    max_discount: Option<Money>,
    amount: Option<Money>,
    min_order: Money,
    quantity: i64,
    issued: i64,
    opens_at: Option<Time>,
    closes_at: Option<Time>,
    valid_days: Option<i32>,
    created_at: Time,
}

impl TryFrom<&Coupon> for CouponRow {
    type Error = db::Error;

    fn try_from(coupon: &Coupon) -> db::Result<Self> {
        let (percent_hundredths, max_discount, amount) = match &coupon.discount {
            Discount::Percent { percent, max_discount } => (Some(hundredths(*percent)?), *max_discount, None),
            Discount::Amount(amount) => (None, None, Some(*amount)),
        };
        Ok(Self {
            id: coupon.id,
            name: coupon.name.clone(),
            percent_hundredths,
            max_discount,
            amount,
            min_order: coupon.min_order,
            quantity: coupon.quantity,
            issued: coupon.issued,
            opens_at: coupon.opens_at,
            closes_at: coupon.closes_at,
            valid_days: coupon.valid_days,
            created_at: coupon.created_at,
        })
    }
}

fn hundredths(percent: Decimal) -> db::Result<i32> {
    let exact = percent.checked_mul(Decimal::ONE_HUNDRED).map(|hundredths| hundredths.normalize());
    let whole = exact.filter(|hundredths| hundredths.scale() == 0).and_then(|hundredths| hundredths.to_i32());
    whole.ok_or_else(|| db::Error::Defect(format!("{percent} percent does not fit its column")))
}

impl TryFrom<CouponRow> for Coupon {
    type Error = db::Error;

    fn try_from(row: CouponRow) -> db::Result<Self> {
        let discount = match (row.percent_hundredths, row.amount) {
            (Some(hundredths), None) => Discount::Percent {
                percent: Decimal::new(hundredths.into(), 2).normalize(),
                max_discount: row.max_discount,
            },
            (None, Some(amount)) => Discount::Amount(amount),
            _ => return Err(db::Error::Defect(format!("coupon {} has no discount, or two", row.id))),
        };
        Ok(Self {
            id: row.id,
            name: row.name,
            discount,
            min_order: row.min_order,
            quantity: row.quantity,
            issued: row.issued,
            opens_at: row.opens_at,
            closes_at: row.closes_at,
            valid_days: row.valid_days,
            created_at: row.created_at,
        })
    }
}

pub(crate) fn insert(conn: &mut Conn, new: &Coupon) -> db::Result<()> {
    diesel::insert_into(coupon::table).values(CouponRow::try_from(new)?).execute(conn)?;
    Ok(())
}

pub(crate) fn by_id(conn: &mut Conn, id: CouponId) -> db::Result<Option<Coupon>> {
    coupon::table.find(id).first::<CouponRow>(conn).optional()?.map(Coupon::try_from).transpose()
}

pub(crate) fn page(conn: &mut Conn, after: Option<CouponId>, limit: i64) -> db::Result<Vec<Coupon>> {
    let newest_first = coupon::table.order(coupon::id.desc()).limit(limit);
    let rows: Vec<CouponRow> = match after {
        Some(after) => newest_first.filter(coupon::id.lt(after)).load(conn)?,
        None => newest_first.load(conn)?,
    };
    rows.into_iter().map(Coupon::try_from).collect()
}

pub(crate) fn set_closes_at(conn: &mut Conn, id: CouponId, closes_at: Time) -> db::Result<Option<Coupon>> {
    let row = diesel::update(coupon::table.find(id))
        .set(coupon::closes_at.eq(closes_at))
        .returning(coupon::all_columns)
        .get_result::<CouponRow>(conn)
        .optional()?;
    row.map(Coupon::try_from).transpose()
}

/// A member's coupon after a change.
#[derive(Queryable)]
pub(crate) struct Changed {
    pub coupon_id: CouponId,
    pub member_id: MemberId,
    pub version: i64,
}

/// Reserves a member's coupon. Returns `None` if the coupon is unavailable, unknown, or another member's.
pub(crate) fn hold(
    conn: &mut Conn,
    id: OwnedCouponId,
    member: MemberId,
    order: OrderId,
    now: Time,
) -> db::Result<Option<Changed>> {
    use owned_coupon as owned;
    let held = diesel::update(owned::table.find(id))
        .filter(owned::member_id.eq(member))
        .filter(owned::status.eq(OwnedStatus::Available))
        .filter(owned::expires_at.is_null().or(owned::expires_at.gt(now)))
        .set((
            owned::status.eq(OwnedStatus::Reserved),
            owned::order_id.eq(order),
            owned::version.eq(owned::version + 1),
        ))
        .returning((owned::coupon_id, owned::member_id, owned::version));
    Ok(held.get_result(conn).optional()?)
}

pub(crate) fn owned_status(
    conn: &mut Conn,
    id: OwnedCouponId,
    member: MemberId,
) -> db::Result<Option<(OwnedStatus, Option<Time>)>> {
    let owned = owned_coupon::table.find(id).filter(owned_coupon::member_id.eq(member));
    Ok(owned.select((owned_coupon::status, owned_coupon::expires_at)).first(conn).optional()?)
}

/// Marks a coupon as used. Returns `false` if the order has not reserved the coupon.
pub(crate) fn redeem(conn: &mut Conn, id: OwnedCouponId, order: OrderId) -> db::Result<bool> {
    use owned_coupon as owned;
    let redeemed = diesel::update(owned::table.find(id))
        .filter(owned::order_id.eq(order))
        .filter(owned::status.eq(OwnedStatus::Reserved))
        .set((owned::status.eq(OwnedStatus::Used), owned::version.eq(owned::version + 1)))
        .execute(conn)?;
    Ok(redeemed == 1)
}

/// Makes a coupon of the order available again. Returns `None` if the order does not hold the coupon.
pub(crate) fn release(conn: &mut Conn, id: OwnedCouponId, order: OrderId) -> db::Result<Option<Changed>> {
    use owned_coupon as owned;
    let released = diesel::update(owned::table.find(id))
        .filter(owned::order_id.eq(order))
        .filter(owned::status.ne(OwnedStatus::Available))
        .set((
            owned::status.eq(OwnedStatus::Available),
            owned::order_id.eq(None::<OrderId>),
            owned::version.eq(owned::version + 1),
        ))
        .returning((owned::coupon_id, owned::member_id, owned::version));
    Ok(released.get_result(conn).optional()?)
}

type OwnedColumns = (OwnedCouponId, OwnedStatus, Option<OrderId>, Time, Option<Time>);

pub(crate) fn owned_page(
    conn: &mut Conn,
    member: MemberId,
    after: Option<OwnedCouponId>,
    limit: i64,
    now: Time,
) -> db::Result<Vec<OwnedCoupon>> {
    use owned_coupon as owned;
    let newest_first = owned::table
        .inner_join(coupon::table)
        .filter(owned::member_id.eq(member))
        .order(owned::id.desc())
        .limit(limit)
        .select((
            (owned::id, owned::status, owned::order_id, owned::issued_at, owned::expires_at),
            coupon::all_columns,
        ));
    let rows: Vec<(OwnedColumns, CouponRow)> = match after {
        Some(after) => newest_first.filter(owned::id.lt(after)).load(conn)?,
        None => newest_first.load(conn)?,
    };
    rows.into_iter()
        .map(|((id, status, order_id, issued_at, expires_at), row)| {
            let Coupon { id: coupon_id, name, discount, min_order, .. } = row.try_into()?;
            let status = status.at(expires_at, now);
            Ok(OwnedCoupon { id, coupon_id, name, status, discount, min_order, order_id, issued_at, expires_at })
        })
        .collect()
}
