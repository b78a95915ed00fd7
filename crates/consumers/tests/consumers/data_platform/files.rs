//! NDJSON files: every committed line once, through any failure between writing and committing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use consumers::data_platform::{Files, FilesSettings};
use contracts::topics::PAYMENT_COMPLETED;
use db::types::Time;
use diesel::{RunQueryDsl, sql_query};
use messaging::{EffectHandler, Event};
use serde_json::{Value, json};

use super::super::given::{Given, databases};
use super::super::outside::{assert_failed, assert_unavailable, lease, turn};
use super::{ids, payments, sink};

/// Returns the export files of the topic, by name.
fn files(data_dir: &Path) -> Vec<PathBuf> {
    let folder = data_dir.join("exports").join(PAYMENT_COMPLETED);
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("a file");
    assert!(text.is_empty() || text.ends_with('\n'), "half a line in {}", file.display());
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Returns the ids in all files, in order.
fn exported(data_dir: &Path) -> Vec<String> {
    let lines = files(data_dir).into_iter().flat_map(|file| lines(&file));
    lines.map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
}

fn handler(given: &Given, data_dir: &Path) -> Arc<dyn EffectHandler> {
    sink(json!({}), data_dir, &given.db)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn a_line_tells_all_about_an_event() {
    for given in databases().await {
        let folder = folder();
        let mut events = payments(7, 1);
        events[0].traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
        events[0].payload = events[0].payload.replace("\":", "\":\n");
        let lease = lease(PAYMENT_COMPLETED, 3, 1);
        turn(&given.db, &handler(&given, folder.path()), &lease, &events).await.expect("handled");
        let [file] = &files(folder.path())[..] else { panic!("one file") };
        assert!(file.to_string_lossy().contains("ndjson"));
        let event = &events[0];
        let expected = json!({
            "id": event.id, "type": "shop.payment.completed", "version": 1, "source": event.source,
            "topic": "payment-completed", "partition": event.partition, "position": 7, "key": event.key,
            "occurred_at": event.occurred_at, "trace": event.traceparent,
            "data": serde_json::from_str::<Value>(&event.payload).expect("JSON"),
        });
        assert_eq!(lines(file), [expected]);
    }
}

#[tokio::test]
async fn what_was_not_committed_is_cut_off_by_the_next_holder() {
    for given in databases().await {
        let folder = folder();
        let (first, second) = (payments(0, 3), payments(3, 2));
        let died = handler(&given, folder.path());
        let lease_1 = lease(PAYMENT_COMPLETED, 0, 1);
        turn(&given.db, &died, &lease_1, &first).await.expect("handled");
        died.handle(&lease_1, &second).await.expect("written");
        let [file] = &files(folder.path())[..] else { panic!("one file") };
        let mut torn = fs::OpenOptions::new().append(true).open(file).expect("a file");
        torn.write_all(br#"{"id":"half a li"#).expect("written");

        let next = handler(&given, folder.path());
        let lease_2 = lease(PAYMENT_COMPLETED, 0, 2);
        next.taken(&lease_2).await.expect("taken");
        assert_eq!(exported(folder.path()), ids(&first));
        turn(&given.db, &next, &lease_2, &second).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&[first, second].concat()));
    }
}

#[tokio::test]
async fn a_file_in_which_nothing_counts_is_removed_by_the_next_holder() {
    for given in databases().await {
        let folder = folder();
        let died = handler(&given, folder.path());
        died.handle(&lease(PAYMENT_COMPLETED, 0, 1), &payments(0, 3)).await.expect("written");
        handler(&given, folder.path()).taken(&lease(PAYMENT_COMPLETED, 0, 2)).await.expect("taken");
        assert!(files(folder.path()).is_empty());
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_is_written_once() {
    for given in databases().await {
        let folder = folder();
        let (first, second, third) = (payments(0, 2), payments(2, 3), payments(5, 1));
        let (files, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        turn(&given.db, &files, &lease, &first).await.expect("handled");
        // the position did not move: the whole batch again, then each event alone
        files.handle(&lease, &second).await.expect("written");
        files.handle(&lease, &second).await.expect("written");
        for event in &second {
            turn(&given.db, &files, &lease, std::slice::from_ref(event)).await.expect("handled");
        }
        turn(&given.db, &files, &lease, &third).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&[first, second, third].concat()));
    }
}

#[tokio::test]
async fn lines_that_the_database_has_lost_are_cut_off_by_the_same_holder() {
    for given in databases().await {
        let folder = folder();
        let (kept, lost, new) = (payments(0, 3), payments(3, 2), payments(3, 1));
        let (sink, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        turn(&given.db, &sink, &lease, &kept).await.expect("handled");
        let length = fs::metadata(&files(folder.path())[0]).expect("a file").len();
        turn(&given.db, &sink, &lease, &lost).await.expect("handled");
        // a failover to a standby that lacks the last commit
        commit(&given, (0, 1, 0), length).await;
        sink.taken(&lease).await.expect("taken again");
        turn(&given.db, &sink, &lease, &new).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&[kept, new].concat()));
    }
}

#[tokio::test]
async fn a_file_whose_row_the_database_has_lost_is_left_and_another_begins() {
    for given in databases().await {
        let folder = folder();
        let (lost, new) = (payments(0, 2), payments(0, 3));
        let (sink, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        turn(&given.db, &sink, &lease, &lost).await.expect("handled");
        let lose =
            |tx: &mut db::Tx<'_>| -> db::Result<usize> { Ok(sql_query("DELETE FROM export_file").execute(&mut **tx)?) };
        assert_eq!(given.db.write(lose).await.expect("lost"), 1);
        sink.taken(&lease).await.expect("taken again");
        turn(&given.db, &sink, &lease, &new).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&[lost, new].concat()), "the file of the lost events has no row");
    }
}

#[tokio::test]
async fn a_holder_that_takes_its_partition_again_goes_on_with_its_file() {
    for given in databases().await {
        let folder = folder();
        let events = payments(0, 6);
        let (sink, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        for batch in events.chunks(2) {
            sink.taken(&lease).await.expect("taken");
            sink.handle(&lease, batch).await.expect("written");
            sink.taken(&lease).await.expect("taken again");
            turn(&given.db, &sink, &lease, batch).await.expect("handled");
        }
        sink.handle(&lease, &events[..3]).await.expect("written");
        sink.taken(&lease).await.expect("taken again");
        assert_eq!(exported(folder.path()), ids(&events));
        assert_eq!(files(folder.path()).len(), 1);
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_loses_and_repeats_nothing() {
    for given in databases().await {
        let folder = folder();
        let events = payments(0, 4);
        let (sink, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        sink.handle(&lease, &events[..2]).await.expect("written");
        // it happened, but nobody was told
        let id = (0, 1, 0);
        let [file] = &files(folder.path())[..] else { panic!("one file") };
        let length = fs::metadata(file).expect("a file").len();
        commit(&given, id, length).await;
        turn(&given.db, &sink, &lease, &events[2..]).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&events));
    }
}

/// Notes the length of a file (partition, lease, sequence) behind the handler's back.
async fn commit(given: &Given, (partition, lease, sequence): (i32, i64, i32), length: u64) {
    let statement = format!(
        "UPDATE export_file SET length = {length} \
         WHERE partition = {partition} AND lease = {lease} AND sequence = {sequence}"
    );
    let rows = given.db.write(move |tx| -> db::Result<usize> { Ok(sql_query(&*statement).execute(&mut **tx)?) });
    assert_eq!(rows.await.expect("updated"), 1);
}

#[tokio::test]
async fn a_holder_that_wakes_late_spoils_only_its_own_file() {
    for given in databases().await {
        let folder = folder();
        let (first, second) = (payments(0, 2), payments(2, 2));
        let frozen = handler(&given, folder.path());
        let lease_1 = lease(PAYMENT_COMPLETED, 0, 1);
        turn(&given.db, &frozen, &lease_1, &first).await.expect("handled");
        let next = handler(&given, folder.path());
        let lease_2 = lease(PAYMENT_COMPLETED, 0, 2);
        next.taken(&lease_2).await.expect("taken");
        turn(&given.db, &next, &lease_2, &second).await.expect("handled");

        frozen.handle(&lease_1, &second).await.expect("written");
        let [spoilt, good] = &files(folder.path())[..] else { panic!("two files") };
        assert_eq!((lines(spoilt).len(), lines(good).len()), (4, 2));
        handler(&given, folder.path()).taken(&lease(PAYMENT_COMPLETED, 0, 3)).await.expect("taken");
        assert_eq!(exported(folder.path()), ids(&[first, second].concat()));
    }
}

#[tokio::test]
async fn a_new_file_begins_before_one_gets_too_large() {
    for given in databases().await {
        let folder = folder();
        let sink = sink(json!({"files": {"max_bytes": 2_000}}), folder.path(), &given.db);
        let lease = lease(PAYMENT_COMPLETED, 0, 1);
        let events = payments(0, 9);
        for event in &events {
            turn(&given.db, &sink, &lease, std::slice::from_ref(event)).await.expect("handled");
        }
        let files = files(folder.path());
        assert!(files.len() > 2, "{files:?}");
        assert!(files.iter().all(|file| fs::metadata(file).expect("a file").len() <= 2_000));
        assert_eq!(exported(folder.path()), ids(&events));
    }
}

static CLOCK: AtomicI64 = AtomicI64::new(0);

fn clock() -> Time {
    Time::from_micros(CLOCK.load(Ordering::SeqCst)).expect("a time")
}

#[tokio::test]
async fn a_new_file_begins_with_the_day() {
    for given in databases().await {
        let folder = folder();
        let files_sink = Files::new(&FilesSettings::default(), folder.path(), given.db.clone()).with_clock(clock);
        let sink: Arc<dyn EffectHandler> = Arc::new(files_sink);
        let lease = lease(PAYMENT_COMPLETED, 0, 1);
        let events = payments(0, 2);
        for (event, at) in events.iter().zip(["2026-11-21T23:59:59.999999Z", "2026-11-22T00:00:00Z"]) {
            CLOCK.store(super::super::given::time(at).micros(), Ordering::SeqCst);
            turn(&given.db, &sink, &lease, std::slice::from_ref(event)).await.expect("handled");
        }
        let names: Vec<_> = files(folder.path()).iter().map(|file| file.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["000-000001-20261121-0000.ndjson", "000-000001-20261122-0001.ndjson"]);
    }
}

#[tokio::test]
async fn files_of_another_database_are_left_alone() {
    let folder = folder();
    let mut all = Vec::new();
    for given in databases().await {
        let events = payments(0, 2);
        let sink = handler(&given, folder.path());
        let lease = lease(PAYMENT_COMPLETED, 0, 1);
        sink.taken(&lease).await.expect("taken");
        turn(&given.db, &sink, &lease, &events).await.expect("handled");
        all.extend(ids(&events));
        assert_eq!(exported(folder.path()), all);
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_waited_for() {
    for given in databases().await {
        let folder = folder();
        let events = payments(0, 2);
        let (sink, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        fs::write(folder.path().join("exports"), "in the way").expect("written");
        for _ in 0..3 {
            assert_unavailable(turn(&given.db, &sink, &lease, &events).await);
        }
        fs::remove_file(folder.path().join("exports")).expect("removed");
        turn(&given.db, &sink, &lease, &events).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&events));
        assert_eq!(files(folder.path()).len(), 1);
    }
}

#[tokio::test]
async fn a_payload_that_is_no_json_fails_and_writes_nothing() {
    for given in databases().await {
        let folder = folder();
        let (sink, lease) = (handler(&given, folder.path()), lease(PAYMENT_COMPLETED, 0, 1));
        let mut events: Vec<Event> = payments(0, 3);
        events[1].payload = "{".into();
        assert_failed(turn(&given.db, &sink, &lease, &events).await);
        turn(&given.db, &sink, &lease, &events[..1]).await.expect("handled");
        assert_failed(turn(&given.db, &sink, &lease, &events[1..2]).await);
        turn(&given.db, &sink, &lease, &events[2..]).await.expect("handled");
        assert_eq!(exported(folder.path()), ids(&[events[0].clone(), events[2].clone()]));
    }
}
