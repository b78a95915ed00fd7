//! Durable answers: an answer waits until a crash can't undo the data behind the answer.

use std::cell::RefCell;
use std::sync::Arc;

use crate::error::Result;
use crate::flusher::Before;
use crate::postgres::Units;

tokio::task_local! {
    /// The time before the first read without a later flush.
    static UNFLUSHED: RefCell<Option<(Arc<Units>, Before)>>;
}

/// Runs the work of a request, and then waits until everything read through [`Database::read`](crate::Database::read)
/// is durable. Another unit may have written the data a moment before.
///
/// The second part of the result is [`Error::Unavailable`](crate::Error::Unavailable) if that is not to be learned; the
/// answer is to be thrown away then.
pub async fn durable<T>(work: impl Future<Output = T>) -> (T, Result<()>) {
    let answer = async {
        let answer = work.await;
        match UNFLUSHED.with(RefCell::take) {
            Some((units, before)) => (answer, units.flusher.flush(before).await),
            None => (answer, Ok(())),
        }
    };
    UNFLUSHED.scope(RefCell::default(), answer).await
}

/// Notes the beginning of a read.
///
/// # Errors
/// [`Error::Unavailable`](crate::Error::Unavailable)
pub(crate) fn reads(units: &Arc<Units>) -> Result<()> {
    let is_first = UNFLUSHED.try_with(|unflushed| unflushed.borrow().is_none());
    if is_first == Ok(true) {
        let before = units.flusher.before()?;
        UNFLUSHED.with(|unflushed| unflushed.replace(Some((units.clone(), before))));
    }
    Ok(())
}

/// Notes the flush of a unit with an end after all reads.
pub(crate) fn flushed() {
    let _ = UNFLUSHED.try_with(RefCell::take); // nobody waits
}
