//! Time limits for work on a database thread.
//!
//! libpq waits for an answer without an end. A path that accepts data and delivers nothing, such as a balancer after
//! a failover, holds the thread for ever: TCP's own limits see acknowledgements. So the waiting task gives up, and
//! the pool of the thread is replaced as a whole.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;

/// Maximum time of a BEGIN; the server does no work for a BEGIN.
const LONGEST_BEGIN: Duration = Duration::from_secs(5);
/// Maximum time of any other statement. The server ends a statement after 60 s.
const LONGEST_STATEMENT: Duration = Duration::from_secs(65);
/// Maximum time of a statement after the path to the server has swallowed a BEGIN. The server waits 5 s for a lock.
const LONGEST_ON_LOST_PATH: Duration = Duration::from_secs(10);
/// Maximum time from a COMMIT to the flush.
const LONGEST_FLUSH: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

thread_local! {
    static PROGRESS: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// Progress of one unit of work or read.
#[derive(Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Default)]
struct State {
    step: Step,
    /// Begin of the unanswered statement, or of the wait for the flush.
    since: Option<Instant>,
    /// The task gave up.
    abandoned: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Step {
    #[default]
    Begin,
    Statement,
    Commit,
    Flush,
}

impl Progress {
    /// Runs `work` on this thread and follows the statements of `work`.
    pub(crate) fn follow<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        PROGRESS.set(Some(self));
        let done = work();
        PROGRESS.set(None);
        done
    }

    /// Waits until a statement takes too long. `is_lost` tells whether the path to the server is known to be bad.
    pub(crate) async fn stuck(&self, is_lost: impl Fn() -> bool) {
        loop {
            sleep(LOOK_EVERY).await;
            let State { step, since, .. } = *self.0.lock();
            let longest = match step {
                Step::Begin => LONGEST_BEGIN,
                Step::Statement | Step::Commit if is_lost() => LONGEST_ON_LOST_PATH,
                Step::Statement | Step::Commit => LONGEST_STATEMENT,
                Step::Flush => LONGEST_FLUSH,
            };
            if since.is_some_and(|since| since.elapsed() > longest) {
                return;
            }
        }
    }

    /// Gives the work up. Returns false if the work may have been committed; otherwise a COMMIT is never sent.
    pub(crate) fn abandon(&self) -> bool {
        let mut state = self.0.lock();
        state.abandoned = true;
        matches!(state.step, Step::Begin | Step::Statement)
    }
}

fn with(change: impl FnOnce(&mut State)) {
    PROGRESS.with_borrow(|progress| {
        if let Some(progress) = progress {
            change(&mut progress.0.lock());
        }
    });
}

/// Notes that the next statement is a BEGIN.
pub(crate) fn begins() {
    with(|state| state.step = Step::Begin);
}

/// Notes that BEGIN was answered.
pub(crate) fn has_begun() {
    with(|state| state.step = Step::Statement);
}

/// Notes that the next statement is a COMMIT. Returns false if the caller no longer waits: then roll the work back.
pub(crate) fn may_commit() -> bool {
    let mut may = true;
    with(|state| {
        may = !state.abandoned;
        if may {
            state.step = Step::Commit;
        }
    });
    may
}

/// Notes that COMMIT was answered, and that the flush is next.
pub(crate) fn awaits_flush() {
    with(|state| (state.step, state.since) = (Step::Flush, Some(Instant::now())));
}

/// Notes that a statement was sent.
pub(crate) fn asked() {
    with(|state| state.since = Some(Instant::now()));
}

/// Notes that a statement was answered.
pub(crate) fn answered() {
    with(|state| state.since = None);
}
