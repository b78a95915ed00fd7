//! Campaigns, and use of coupons by members.

pub(crate) mod issuing;

use contracts::events::{CouponReturned, CouponUsed};
use contracts::{CouponId, MemberId, Money, OrderId, OwnedCouponId};
use db::types::Time;
use db::{Conn, Tx};

use crate::error::CouponError;
use crate::model::{Availability, Coupon, NewCoupon, OwnedCoupon, OwnedStatus};
use crate::store;

/// Starts a campaign.
///
/// # Errors
/// [`CouponError::Invalid`] names the field.
pub fn create(tx: &mut Tx<'_>, new: &NewCoupon) -> Result<Coupon, CouponError> {
    new.check()?;
    let coupon = Coupon {
        id: CouponId::new(),
        name: new.kept_name()?,
        discount: new.discount.clone(),
        min_order: new.min_order,
        quantity: new.quantity,
        issued: 0,
        opens_at: new.opens_at,
        closes_at: new.closes_at,
        valid_days: new.valid_days,
        created_at: tx.now()?,
    };
    store::insert(tx, &coupon)?;
    Ok(coupon)
}

/// Sets the closing time of the campaign. A campaign closed before the opening never opens.
///
/// # Errors
/// [`CouponError::NotFound`]
pub fn close_at(tx: &mut Tx<'_>, id: CouponId, closes_at: Time) -> Result<Coupon, CouponError> {
    store::set_closes_at(tx, id, closes_at)?.ok_or(CouponError::NotFound)
}

/// Returns a campaign by id.
///
/// # Errors
/// Any error of the database.
pub fn get(conn: &mut Conn, id: CouponId) -> db::Result<Option<Coupon>> {
    store::by_id(conn, id)
}

/// Returns at most `limit` campaigns before `after`, newest first.
///
/// # Errors
/// Any error of the database.
pub fn page(conn: &mut Conn, after: Option<CouponId>, limit: i64) -> db::Result<Vec<Coupon>> {
    store::page(conn, after, limit)
}

/// Returns true if the coupon can be asked for now. `None` when there is no such coupon.
///
/// # Errors
/// Any error of the database.
pub fn availability(conn: &mut Conn, id: CouponId) -> db::Result<Option<Availability>> {
    Ok(store::by_id(conn, id)?.map(|coupon| coupon.availability(Time::now())))
}

/// Takes a member's coupon for an order of `total`, and returns the discount.
///
/// The UPDATE decides between two concurrent orders: one order gets the row.
///
/// # Errors
/// [`CouponError::NotFound`] (also for another member's), [`CouponError::NotAvailable`], [`CouponError::BelowMinimum`]
pub fn reserve(
    tx: &mut Tx<'_>,
    id: OwnedCouponId,
    member: MemberId,
    order: OrderId,
    total: Money,
) -> Result<Money, CouponError> {
    let now = tx.now()?;
    let Some(held) = store::hold(tx, id, member, order, now)? else {
        return Err(why_not_available(tx, id, member, now)?);
    };
    let coupon = store::by_id(tx, held.coupon_id)?.ok_or(CouponError::NotFound)?;
    let discount = coupon.discount_of(total)?;
    let used = CouponUsed {
        owned_coupon_id: id,
        owned_coupon_version: held.version,
        coupon_id: held.coupon_id,
        member_id: member,
        order_id: order,
        discount,
        used_at: now,
    };
    messaging::emit(tx, &used)?;
    Ok(discount)
}

fn why_not_available(
    tx: &mut Tx<'_>,
    id: OwnedCouponId,
    member: MemberId,
    now: Time,
) -> Result<CouponError, CouponError> {
    Ok(match store::owned_status(tx, id, member)? {
        None => CouponError::NotFound,
        // given back between the two statements
        Some((OwnedStatus::Available, expires_at)) if expires_at.is_none_or(|expires| expires > now) => {
            CouponError::NotAvailable { status: OwnedStatus::Reserved }
        }
        Some((status, expires_at)) => CouponError::NotAvailable { status: status.at(expires_at, now) },
    })
}

/// Marks a coupon as used, after the payment of the order.
///
/// # Errors
/// [`CouponError::NotHeld`]
pub fn redeem(tx: &mut Tx<'_>, id: OwnedCouponId, order: OrderId) -> Result<(), CouponError> {
    if store::redeem(tx, id, order)? { Ok(()) } else { Err(CouponError::NotHeld) }
}

/// Gives back a coupon reserved or used by the order.
///
/// # Errors
/// [`CouponError::NotHeld`], so that a coupon is given back only once.
pub fn give_back(tx: &mut Tx<'_>, id: OwnedCouponId, order: OrderId) -> Result<(), CouponError> {
    let now = tx.now()?;
    let freed = store::release(tx, id, order)?.ok_or(CouponError::NotHeld)?;
    let returned = CouponReturned {
        owned_coupon_id: id,
        owned_coupon_version: freed.version,
        coupon_id: freed.coupon_id,
        member_id: freed.member_id,
        order_id: order,
        returned_at: now,
    };
    messaging::emit(tx, &returned)?;
    Ok(())
}

/// Returns at most `limit` of a member's coupons before `after`, newest first.
///
/// # Errors
/// Any error of the database.
pub fn owned_page(
    conn: &mut Conn,
    member: MemberId,
    after: Option<OwnedCouponId>,
    limit: i64,
) -> db::Result<Vec<OwnedCoupon>> {
    store::owned_page(conn, member, after, limit, Time::now())
}
