//! First-come coupons: decides requests in the order of the log, and wakes waiting clients.

mod wake;

use std::sync::Arc;

use contracts::topics;
use coupon::CouponError;
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, TransactionalHandler};

pub use wake::{IssuerWake, outcome};

/// The group's name.
pub const GROUP: &str = "coupon-issuer";

/// Returns the group of coupon requests; `wake` wakes the API requests of this process.
pub fn group(wake: IssuerWake) -> Group {
    Group {
        name: GROUP,
        topics: vec![topics::COUPON_ISSUE_REQUESTED],
        replay: Replay::Once("coupons that were issued stay issued, and every request has its answer"),
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Issuer { wake })),
    }
}

/// Issues coupons in the order of the requests.
struct Issuer {
    wake: IssuerWake,
}

impl TransactionalHandler for Issuer {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let requests =
            events.iter().map(|event| Ok((event, event.decode()?))).collect::<Result<Vec<_>, HandlerError>>()?;
        let results = coupon::issue(tx, &requests).map_err(to_handler_error)?;
        let wake = self.wake.clone();
        tx.after_commit(move || wake.tell(results));
        Ok(())
    }
}

fn to_handler_error(error: CouponError) -> HandlerError {
    match error {
        CouponError::Database(error) => error.into(),
        CouponError::Contended(_) => HandlerError::Unavailable(error.to_string()),
        other => HandlerError::Failed(other.to_string()),
    }
}
