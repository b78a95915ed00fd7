//! End positions of other processes: notifications and polling.

use std::time::Duration;

use db::{Conn, Database, Heard};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::log::epochs;
use crate::log::rows;

/// Interval of polling the ends without a notification. At rest, and while notifications arrive, the interval doubles
/// up to the longest.
const POLL: Duration = Duration::from_secs(1);
const LONGEST_POLL: Duration = Duration::from_secs(10);
const CHANNEL: &str = "event_log";
/// Partitions in one notification; the payload must stay under 8000 bytes.
const SAID_AT_ONCE: usize = 50;

/// Follows the log until `stop`: notifies other processes of this process's events, and learns of theirs. On SQLite
/// this task only notices a commit that succeeded although the commit reported an error.
pub async fn follow_log(db: Database, log: Log, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = say_ends(&db, &log) => {}
        () = follow_ends(&db, &log) => {}
    }
}

/// Notifies other processes of raised ends. Ends raised during a notification wait for the next notification.
async fn say_ends(db: &Database, log: &Log) {
    if !db.is_shared() {
        std::future::pending::<()>().await;
    }
    loop {
        let (epoch, risen) = log.risen().await;
        let Some(epoch) = epoch else { continue };
        for risen in risen.chunks(SAID_AT_ONCE) {
            let lines = risen.iter().map(|((topic, partition), end)| {
                let partitions = log.partitions(topic);
                format!("\n{topic} {partition} {end} {partitions}")
            });
            let said: String = std::iter::once(format!("{} {epoch}", log.name())).chain(lines).collect();
            // what is not said is polled
            if let Err(error) = db.notify(CHANNEL, said).await {
                tracing::debug!(%error, "other processes were not told of new events");
            }
        }
    }
}

async fn follow_ends(db: &Database, log: &Log) {
    let mut listener = db.listen(CHANNEL);
    let mut is_heard = false;
    let (mut pause, mut next_poll) = (POLL, Instant::now());
    loop {
        let next = async {
            match &mut listener {
                Some(listener) => listener.next().await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! { heard = next => Some(heard), () = sleep_until(next_poll) => None };
        let is_poll = matches!(heard, Some(Heard::Connected) | None);
        match &heard {
            Some(Heard::Connected) => is_heard = true,
            Some(Heard::Lost) => is_heard = false,
            // our own are known
            Some(Heard::Payload(said)) if said.starts_with(log.name()) => {}
            // said after a flush
            Some(Heard::Payload(said)) => hear(log, said),
            None => {}
        }
        if is_poll && let Err(error) = learn_ends(db, log, rows::partitions).await {
            tracing::debug!(%error, "the ends of the log were not read");
        }
        let now = Instant::now();
        if heard.is_none() && is_heard {
            pause = (pause * 2).min(LONGEST_POLL);
            next_poll = now + pause;
        } else {
            pause = POLL;
            next_poll = if is_poll { now + POLL } else { next_poll.min(now + POLL) };
        }
    }
}

/// Learns the ends found by `read`. Ends of commits that are not durable yet become known only after a flush. If the
/// log has a newer epoch than this process, reads the list of epochs instead.
pub(crate) async fn learn_ends(
    db: &Database,
    log: &Log,
    read: impl Fn(&mut Conn) -> db::Result<Vec<rows::PartitionRow>> + Send + 'static,
) -> db::Result<()> {
    // the epoch last: what was read before is of no newer one
    let read = move |conn: &mut Conn| Ok((read(conn)?, epochs::standing(conn)?));
    let (rows, standing) = db.read_durable(read, |(rows, _)| log.is_news(rows)).await?;
    if log.stands(db, standing).await? {
        log.learn_in(standing.epoch, &rows);
    }
    Ok(())
}

/// Learns from another process's notification: a line with the log and the epoch, and a line for each partition.
fn hear(log: &Log, said: &str) {
    let mut lines = said.lines();
    let epoch = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let end = |line: &str| -> Option<(String, i32, i64, i32)> {
        let mut words = line.split(' ');
        let topic = words.next()?.to_owned();
        let (partition, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((topic, partition, end, words.next()?.parse().ok()?))
    };
    log.hear(epoch, lines.filter_map(end));
}
