//! State of coupons for requests, without a query for each request.

use std::time::Duration;

use contracts::{CouponId, MemberId};
use coupon::{Availability, Coupon};
use db::Database;
use db::types::Time;

use super::Recent;
use crate::http::kinds;
use crate::http::problem::Problem;

/// Maximum delay until a process knows of a sold-out coupon, or of another process's closing of a coupon.
const LIFETIME: Duration = Duration::from_millis(400);

/// Cache of coupons.
pub struct Coupons {
    db: Database,
    recent: Recent<CouponId, Option<Coupon>>,
    /// Owners of sold-out coupons; these no longer change.
    owners: Recent<(CouponId, MemberId), bool>,
}

/// Answer to a request for a coupon.
pub enum CouponState {
    /// The request goes into the log.
    Open,
    /// The request is refused at once.
    Refused(Problem),
}

impl Coupons {
    /// Wraps the coupons of `db`.
    pub fn new(db: Database) -> Self {
        let recent = Recent::new(LIFETIME, 10_000);
        Self { db, recent, owners: Recent::new(Duration::from_secs(60), 200_000) }
    }

    /// Returns true if `member` may ask for the coupon now.
    ///
    /// A member with the coupon may ask even for a sold-out coupon, and is told of the coupon again.
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

    /// Forgets a coupon changed by this process.
    pub fn forget(&self, id: CouponId) {
        self.recent.forget(id);
    }
}
