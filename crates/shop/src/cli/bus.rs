//! `shop bus`.

use std::collections::BTreeMap;
use std::time::Duration;

use messaging::RELAY;
use messaging::admin::{self, DeadLetterQuery, PartitionStatus};
use program::process::Failure;
use runtime::settings::{BusSettings, Settings};
use runtime::{Shop, recorded_buses};

const COLUMNS: [&str; 7] = ["topic", "partition", "by setting", "by record", "end", "relayed", "to relay"];

/// Maximum time for Kafka's answer. An unavailable cluster is reported after this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum number of dead letters that are looked at, the newest first.
const SHOWN: i64 = 100;

/// Shows the bus and the end of each topic. Fails if Kafka is needed and does not answer, after showing the
/// database's data.
pub(super) async fn status(settings: Settings) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let read = |conn: &mut db::Conn| -> db::Result<_> {
        Ok((admin::partitions(conn)?, recorded_buses(conn)?, refused(conn)?))
    };
    let (partitions, recorded, refused) = shop.db.read(read).await?;
    print!("{}{refused}", table(&shop.settings.bus, &recorded, partitions));
    let said = match shop.buses.check_kafka(PATIENCE).await {
        Ok(()) => of_kafka(&shop).await,
        Err(reason) => Err(reason),
    };
    shop.close().await;
    let at = shop.buses.kafka_servers().map_or_else(String::new, |servers| format!("Kafka at {servers}"));
    let said = said.map_err(|reason| Failure::Failed(format!("{at} does not answer: {reason}")))?;
    said.iter().for_each(|said| println!("\n{at} answers, {said}"));
    Ok(())
}

/// Events that Kafka refused and that nobody has sent again or discarded.
fn refused(conn: &mut db::Conn) -> db::Result<String> {
    let query = DeadLetterQuery { group: Some(RELAY.into()), status: Some("dead"), ..DeadLetterQuery::default() };
    let letters = admin::dead_letters(conn, &query, SHOWN)?;
    let lines = letters.iter().map(|letter| {
        let admin::DeadLetter { id, topic, partition, position, error, .. } = letter;
        format!("  {topic} {partition}, position {position}: {error} (dead letter {id})\n")
    });
    let lines: String = lines.collect();
    Ok(if lines.is_empty() { lines } else { format!("\nKafka refused events, which are set aside:\n{lines}") })
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
