//! Whether coupons can be asked for, known without asking the database each time.

use std::time::Duration;

use contracts::{CouponId, MemberId};
use coupon::{Availability, Coupon};
use db::Database;
use db::types::Time;

use super::Recent;
use crate::http::kinds;
use crate::http::problem::Problem;

/// How late a process learns that a coupon is sold out, or was closed by another process.
const LIFETIME: Duration = Duration::from_millis(400);

/// Coupons as they were a moment ago.
pub struct Coupons {
    db: Database,
    recent: Recent<CouponId, Option<Coupon>>,
    /// Of coupons that are sold out, whose owners stay the same.
    owners: Recent<(CouponId, MemberId), bool>,
}

/// What a request for a coupon is to be answered with.
pub enum CouponState {
    /// It goes into the log.
    Open,
    /// It is refused at once.
    Refused(Problem),
}

impl Coupons {
    /// Over the coupons of `db`.
    pub fn new(db: Database) -> Self {
        let recent = Recent::new(LIFETIME, 10_000);
        Self { db, recent, owners: Recent::new(Duration::from_secs(60), 200_000) }
    }

    /// Returns true if `member` may ask for the coupon now.
    ///
    /// Whoever holds one may ask even when all are gone, and is told again what it won.
    ///
    /// # Errors
    /// `not-found`, and the database's.
    pub async fn state(&self, id: CouponId, member: MemberId) -> Result<CouponState, Problem> {
        let read = self.db.read(move |conn| coupon::get(conn, id));
        let coupon = self.recent.get_or_read(id, read).await?.ok_or_else(|| Problem::not_found("coupon"))?;
        let not_open = || {
            let problem = Problem::new(&kinds::COUPON_NOT_OPEN);
            CouponState::Refused(problem.with("opens_at", coupon.opens_at).with("closes_at", coupon.closes_at))
        };
        let sold_out = coupon.remaining() <= 0;
        Ok(match coupon.availability(Time::now()) {
            Availability::Open => CouponState::Open,
            Availability::NotYetOpen => not_open(),
            Availability::SoldOut | Availability::Closed if self.holds(id, member, sold_out).await? => {
                CouponState::Open
            }
            Availability::SoldOut => CouponState::Refused(Problem::new(&kinds::COUPON_SOLD_OUT)),
            Availability::Closed => not_open(),
        })
    }

    async fn holds(&self, id: CouponId, member: MemberId, sold_out: bool) -> Result<bool, Problem> {
        let read = async {
            let owned = self.db.read(move |conn| coupon::owned_by(conn, id, member)).await?;
            Ok::<_, Problem>(owned.is_some())
        };
        // while some are left, a request that is on its way may yet win one
        if sold_out { self.owners.get_or_read((id, member), read).await } else { read.await }
    }

    /// The coupon was changed by this process.
    pub fn forget(&self, id: CouponId) {
        self.recent.forget(id);
    }
}
