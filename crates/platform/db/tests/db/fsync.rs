//! A disk with a failing fsync.

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db::{Error, Reason};
use testkit::again_with;

use crate::ground::{insert, sqlite};

static FAILS: AtomicBool = AtomicBool::new(false);

/// Replaces the C library's function, called by SQLite for each COMMIT.
// SAFETY: the signature is that of POSIX, and no other symbol of this program has the name
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    if FAILS.load(Ordering::SeqCst) {
        return -1;
    }
    // SAFETY: the caller's file is open during the call
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    // a system call, and not this function again
    if rustix::fs::fdatasync(file).is_ok() { 0 } else { -1 }
}

/// The frame of the commit may be in the log, and count after a crash. In this process the commit is undone.
#[test]
fn a_commit_whose_fsync_fails_is_unknown_and_later_writes_are_unavailable() {
    let name = "fsync::a_commit_whose_fsync_fails_is_unknown_and_later_writes_are_unavailable";
    if again_with(name, &[]) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(fail_and_recover());
    }
}

async fn fail_and_recover() {
    let ground = sqlite().await;
    let write = async |id: i64| ground.db.write(move |tx| insert(tx, id, 0)).await;
    write(1).await.expect("an account");
    FAILS.store(true, Ordering::SeqCst);
    let unknown = write(2).await;
    assert!(matches!(unknown, Err(Error::UnknownOutcome(_))), "{unknown:?}");
    assert_eq!(ground.db.storage_fault().map(|fault| fault.reason), Some(Reason::Failing));
    for id in 3..10 {
        let refused = write(id).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{id}: {refused:?}");
    }
    FAILS.store(false, Ordering::SeqCst);
    while ground.db.storage_fault().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write(10).await.expect("an account");
    let there: BTreeSet<i64> = ground.reopened().await.accounts().await.into_iter().map(|(id, _)| id).collect();
    assert!(there.is_superset(&BTreeSet::from([1, 10])) && there.is_subset(&BTreeSet::from([1, 2, 10])), "{there:?}");
}
