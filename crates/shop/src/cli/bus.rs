//! `shop bus`.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::topics;
use messaging::Direct;
use messaging::admin::{self, PartitionStatus};
use program::process::Failure;
use runtime::settings::{BusSettings, Settings};
use runtime::{Shop, recorded_buses};

const COLUMNS: [&str; 7] = ["topic", "partition", "by setting", "by record", "end", "relayed", "to relay"];

/// Maximum time for Kafka's answer. An unavailable cluster is reported after this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows the bus and the end of each topic. Fails if Kafka is needed and does not answer, after showing the
/// database's data.
pub(super) async fn status(settings: Settings) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let read = |conn: &mut db::Conn| -> db::Result<_> { Ok((admin::partitions(conn)?, recorded_buses(conn)?)) };
    let (partitions, recorded) = shop.db.read(read).await?;
    print!("{}", table(&shop.settings.bus, &recorded, partitions));
    let answers = shop.buses.check_kafka(PATIENCE).await;
    println!("\n{}", of_requests(&shop, answers.is_ok()).await?);
    let said = match answers {
        Ok(()) => of_kafka(&shop).await,
        Err(reason) => Err(reason),
    };
    shop.close().await;
    let at = shop.buses.kafka_servers().map_or_else(String::new, |servers| format!("Kafka at {servers}"));
    let said = said.map_err(|reason| Failure::Failed(format!("{at} does not answer: {reason}")))?;
    said.iter().for_each(|said| println!("\n{at} answers, {said}"));
    Ok(())
}

/// Returns the row of the direct topic. Positions of this topic begin anew with each move, so that the table tells
/// little.
async fn of_requests(shop: &Shop, kafka_answers: bool) -> Result<String, Failure> {
    let (topic, direct) = (topics::COUPON_ISSUE_REQUESTED, &shop.direct);
    if kafka_answers {
        direct.refresh().await?;
    } else {
        direct.look().await?;
    }
    let is_counted = kafka_answers && direct.away().is_none();
    let waits_there = shop.db.read(|conn| Direct::is_waited_for(conn, &topics::DIRECT)).await?;
    let waiting = if is_counted || !waits_there { direct.waiting().to_string() } else { "an unknown number".into() };
    Ok(match direct.epoch(topic) {
        None => format!("{topic} is closed (shop drain); {waiting} of its events wait"),
        Some(epoch) => {
            let way = if epoch.direct { "go straight to Kafka" } else { "go through the log" };
            format!("Events of {topic} {way} (epoch {}); {waiting} wait", epoch.number)
        }
    })
}

/// Differences between Kafka's topics and the settings, if a topic is there.
async fn of_kafka(shop: &Shop) -> Result<Option<String>, String> {
    let Some(compared) = shop.buses.compare_topics(&shop.log).await else { return Ok(None) };
    let lines: Vec<_> = compared?.iter().map(|difference| format!("  {difference}")).collect();
    Ok(Some(if lines.is_empty() {
        "and its topics are as the settings have them".into()
    } else {
        format!("but:\n{}", lines.join("\n"))
    }))
}

/// Returns a position for the table: `-` without any event.
fn shown(position: i64) -> String {
    if position < 0 { "-".into() } else { position.to_string() }
}

fn table(settings: &BusSettings, recorded: &BTreeMap<String, String>, partitions: Vec<PartitionStatus>) -> String {
    let row = |row: PartitionStatus| {
        let recorded = recorded.get(&row.topic).map_or("-", String::as_str).to_owned();
        let to_relay = row.to_relay.map_or_else(|| "-".into(), |events| events.to_string());
        let setting = settings.of(&row.topic).as_str().to_owned();
        let (end, relayed) = (shown(row.end), shown(row.relayed));
        [row.topic, row.partition.to_string(), setting, recorded, end, relayed, to_relay]
    };
    let rows: Vec<[String; 7]> =
        [COLUMNS.map(str::to_owned)].into_iter().chain(partitions.into_iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..COLUMNS.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default()).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
