//! Topic routing: the recorded bus of each topic. Positions are equal on both buses, so a setting moves a topic while
//! work is in flight; the record shows the move, and the processes that lag behind.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::topics;
use db::{Conn, Tx, on_each};
use diesel::prelude::*;
use messaging::Log;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::settings::{Backend, BusSettings};
use crate::shop::Shop;

/// Interval between two reads of the record.
const LOOK_EVERY: Duration = Duration::from_secs(10);

diesel::table! {
    topic_bus (topic) {
        topic -> Text,
        bus -> Text,
    }
}

/// Topic, bus.
type Rows = BTreeMap<String, String>;

/// Returns the recorded bus of each topic; a topic without a record is absent.
///
/// # Errors
/// Any error of the database.
pub fn recorded_buses(conn: &mut Conn) -> db::Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> = topic_bus::table.load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Records the buses of the settings, and gives the relay exactly the topics on Kafka.
///
/// # Errors
/// Any error of the database.
pub(crate) async fn record(shop: &Shop) -> db::Result<()> {
    let (of, log) = (shop.settings.clone(), shop.log.clone());
    let before = shop.db.write(move |tx| settle(tx, &log, &of.bus)).await?;
    for bus in [Backend::InProcess, Backend::Kafka] {
        let moved = |topic: &&str| {
            shop.settings.bus.of(topic) == bus && before.get(*topic).is_some_and(|before| before != bus.as_str())
        };
        let moved: Vec<_> = topics::ALL.into_iter().filter(moved).collect();
        if !moved.is_empty() {
            tracing::info!(topics = moved.join(", "), bus = bus.as_str(), "topics move to another bus");
        }
    }
    Ok(())
}

/// Updates the record and returns the previous record.
fn settle(tx: &mut Tx<'_>, log: &Log, settings: &BusSettings) -> db::Result<Rows> {
    let before = recorded_buses(tx)?;
    let mut all = topics::ALL;
    all.sort_unstable(); // rows are taken in one order by everybody
    for topic in all {
        let bus = topic_bus::bus.eq(settings.of(topic).as_str());
        on_each!(&mut **tx, |conn| diesel::insert_into(topic_bus::table)
            .values((topic_bus::topic.eq(topic), bus))
            .on_conflict(topic_bus::topic)
            .do_update()
            .set(bus)
            .execute(conn))?;
    }
    let is_relayed = |topic: &&str| settings.of(topic) == Backend::Kafka;
    let (there, here): (Vec<_>, Vec<_>) = all.into_iter().partition(is_relayed);
    messaging::end_relaying(tx, &here)?;
    messaging::begin_relaying(tx, log, &there)?;
    Ok(before)
}

/// Says so when the settings of this process and the record do not agree, until `stop`.
pub(crate) async fn watch(shop: Shop, stop: CancellationToken) {
    let mut told = Vec::new();
    while !stop.is_cancelled() {
        match shop.db.statement(recorded_buses).await {
            Ok(recorded) => {
                let differing = differing(&shop.settings.bus, &recorded);
                if !differing.is_empty() && differing != told {
                    tracing::warn!(
                        topics = differing.join(", "),
                        "another process has put these topics on another bus than the settings of this one say"
                    );
                }
                told = differing;
            }
            Err(error) => tracing::debug!(%error, "which bus each topic is on was not looked up"),
        }
        tokio::select! { () = stop.cancelled() => {}, () = sleep(LOOK_EVERY) => {} }
    }
}

fn differing(settings: &BusSettings, recorded: &Rows) -> Vec<&'static str> {
    let differs = |topic: &&str| recorded.get(*topic).is_some_and(|bus| bus != settings.of(topic).as_str());
    topics::ALL.into_iter().filter(differs).collect()
}
