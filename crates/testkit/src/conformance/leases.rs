//! Leases: holder and duration for each partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use db::types::{Id, Time};
use diesel::prelude::*;
use messaging::{ConsumerOptions, Consumers, Event};
use tokio::sync::watch;

use super::{Bed, PARTITIONS, effecting, options, until};

diesel::table! {
    use diesel::sql_types::*;
    use db::types::Uuid;
    group_lease (grp, topic, partition) { grp -> Text, topic -> Text, partition -> Integer, holder -> Nullable<Uuid> }
}
diesel::table! {
    use diesel::sql_types::*;
    use db::types::{UtcTime, Uuid};
    group_member (grp, member) { grp -> Text, member -> Uuid, expires_at -> UtcTime }
}

/// Returns the number of partitions of each holder, in ascending order.
async fn holdings(bed: &Bed, group: &'static str) -> Vec<usize> {
    let held = move |conn: &mut db::Conn| -> db::Result<Vec<Option<Id>>> {
        let of_group = group_lease::table.filter(group_lease::grp.eq(group)).order(group_lease::holder);
        Ok(of_group.select(group_lease::holder).load(conn)?)
    };
    let holders = bed.database.db.read(held).await.expect("the leases");
    let mut counts: Vec<usize> = holders.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    counts.sort_unstable();
    counts
}

/// Partitions are shared evenly through joins and leaves.
pub async fn no_member_goes_without_while_another_has_two_more(bed: Bed) {
    let member = || bed.host(vec![effecting("equals", |_, _| async { Ok(()) })]);
    let shared = async |counts: &[usize]| until("they share", async || holdings(&bed, "equals").await == counts).await;
    let mut members = Vec::new();
    for counts in [&[4][..], &[2, 2], &[1, 1, 2], &[1, 1, 1, 1]] {
        members.push(member().await);
        shared(counts).await;
    }
    for counts in [&[1, 1, 2][..], &[2, 2], &[4]] {
        members.remove(0).stop().await;
        shared(counts).await;
    }
    for member in members {
        member.stop().await;
    }
}

/// A handler that finishes slowly costs the member no other lease: the member's leases are renewed meanwhile.
pub async fn leases_are_renewed_while_a_partition_is_let_go(bed: Bed) {
    let (release, released) = watch::channel(false);
    let (stuck, handled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (its_stuck, its_handled) = (stuck.clone(), handled.clone());
    let slow = effecting("patients", move |_, events: Vec<Event>| {
        its_stuck.fetch_add(1, Ordering::SeqCst);
        its_handled.fetch_add(events.len(), Ordering::SeqCst);
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.expect("the test goes on");
            Ok(())
        }
    });
    let (db, log, bus) = (bed.database.db.clone(), bed.database.log.clone(), bed.bus.clone());
    let options = ConsumerOptions { drain: Duration::from_secs(600), ..options() };
    let first = Consumers::start(db, log, bus, vec![slow.clone()], options).await.expect("it starts");
    bed.tick_all(40, 1, 40).await;
    until("all its partitions are busy", async || stuck.load(Ordering::SeqCst) == PARTITIONS as usize).await;
    let member = only_member(&bed, "patients").await;
    let second = bed.host(vec![slow]).await;
    // the first gives two partitions away, and its handlers are still at work
    for _ in 0..6 {
        let before = expiry(&bed, member).await;
        until("the first renews", async || expiry(&bed, member).await > before).await;
    }
    assert_eq!(holdings(&bed, "patients").await, [4], "{}: nothing was taken from it", bed.name);
    release.send(true).expect("the handlers wait");
    until("they share", async || holdings(&bed, "patients").await == [2, 2]).await;
    bed.tick_all(40, 1, 40).await;
    until("all is handled", async || handled.load(Ordering::SeqCst) == 80).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(handled.load(Ordering::SeqCst), 80, "{}: and nothing twice", bed.name);
}

async fn only_member(bed: &Bed, group: &'static str) -> Id {
    let member = move |conn: &mut db::Conn| -> db::Result<Id> {
        Ok(group_member::table.filter(group_member::grp.eq(group)).select(group_member::member).first(conn)?)
    };
    bed.database.db.read(member).await.expect("a member")
}

async fn expiry(bed: &Bed, member: Id) -> Time {
    let expiry = move |conn: &mut db::Conn| -> db::Result<Time> {
        Ok(group_member::table.filter(group_member::member.eq(member)).select(group_member::expires_at).first(conn)?)
    };
    bed.database.db.read(expiry).await.expect("the member is known")
}

/// Dead members are forgotten and do not count.
pub async fn the_dead_are_forgotten(bed: Bed) {
    let member = || bed.host(vec![effecting("mourners", |_, _| async { Ok(()) })]);
    let members = async || {
        let count = |conn: &mut db::Conn| -> db::Result<i64> {
            Ok(group_member::table.filter(group_member::grp.eq("mourners")).count().get_result(conn)?)
        };
        bed.database.db.read(count).await.expect("the members")
    };
    let dead = [member().await, member().await, member().await];
    until("three have joined", async || members().await == 3).await;
    dead.into_iter().for_each(Consumers::abort);
    let lives = member().await;
    until("one is left, and has all", async || members().await == 1 && holdings(&bed, "mourners").await == [4]).await;
    lives.stop().await;
    assert_eq!(members().await, 0, "{}", bed.name);
}
