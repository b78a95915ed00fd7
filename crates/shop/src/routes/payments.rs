//! Payments, and reports of failed payments.

use std::fmt;
use std::sync::Arc;

use checkout::CheckoutError;
use contracts::OrderId;
use db::{Database, Tx};
use event_proxy_client::report_errors;
use order::OrderError;
use parking_lot::Mutex;
use rest::reply::Kept;

use super::at;
use crate::auth::Caller;
use crate::dto::checkout::PaymentView;
use crate::http::problem::Answer;
use crate::idempotency::{self, Done, RequiredKey};

/// A failed payment.
pub(super) struct NotPaid {
    why: String,
    /// Answer to the request.
    pub(super) answer: Answer<Kept>,
}

impl fmt::Display for NotPaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Pays an order. Reports a failed payment to the event proxy, but not a repeated answer or an error in the request
/// itself.
#[report_errors(service = "order", type = "payment-failed", key = order, fields(member_id = caller.id))]
pub(super) async fn pay(
    db: &Database,
    caller: &Caller,
    key: RequiredKey,
    order: OrderId,
) -> Result<Answer<Kept>, NotPaid> {
    // of the unit's last run, for it may run again
    let refusal = Arc::new(Mutex::new(None));
    let (member, refused) = (caller.id, refusal.clone());
    let work = move |tx: &mut Tx<'_>| {
        let paid = checkout::pay(tx, member, order);
        *refused.lock() = paid.as_ref().err().and_then(reported);
        Done::created(at(format_args!("orders/{order}/payment")), &PaymentView::from(paid?))
    };
    let answer = idempotency::once(db, caller, key, b"", work).await;
    let refusal = refusal.lock().take();
    let failure = || answer.as_ref().err().filter(|problem| !problem.is_refusal()).map(ToString::to_string);
    match refusal.or_else(failure) {
        Some(why) => Err(NotPaid { why, answer }),
        None => Ok(answer),
    }
}

/// Returns the reported text of a refusal.
fn reported(error: &CheckoutError) -> Option<String> {
    match error {
        // whoever asks for what is not there has nothing to pay
        CheckoutError::Order(OrderError::NotFound) => None,
        error => Some(error.to_string()),
    }
}
