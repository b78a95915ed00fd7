//! `shop bus` and `shop renew-log`.

use std::collections::BTreeMap;

use contracts::topics;
use messaging::Direct;
use messaging::admin::{self, PartitionStatus};
use program::process::Failure;
use runtime::settings::{BusSettings, Settings};
use runtime::{Shop, recorded_buses};

const COLUMNS: [&str; 8] = ["topic", "partition", "by setting", "by record", "end", "relayed", "to relay", "in outbox"];

/// Shows which bus each topic is on and how far it has come there.
pub(super) async fn status(settings: Settings) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let read = |conn: &mut db::Conn| -> db::Result<_> { Ok((admin::partitions(conn)?, recorded_buses(conn)?)) };
    let (partitions, recorded) = shop.db.read(read).await?;
    print!("{}", table(&shop.settings.bus, &recorded, partitions));
    shop.direct.refresh().await?;
    println!("\n{}", of_requests(&shop.direct));
    if let Some(servers) = shop.buses.kafka_servers() {
        println!("\n{}", of_kafka(&shop, servers).await);
    }
    shop.close().await;
    Ok(())
}

/// Positions of that topic begin anew with each move, so that the table tells little of it.
fn of_requests(direct: &Direct) -> String {
    let topic = topics::COUPON_ISSUE_REQUESTED;
    let waiting = direct.waiting();
    match direct.epoch(topic) {
        None => format!("{topic} is closed (shop drain); {waiting} of its events wait"),
        Some(epoch) => {
            let way = if epoch.direct { "go straight to Kafka" } else { "go through the log" };
            format!("Events of {topic} {way} (epoch {}); {waiting} wait", epoch.number)
        }
    }
}

/// Gives the log another source.
pub(super) async fn renew_log(settings: Settings) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let renewed = shop.db.write(admin::renew_log).await;
    shop.close().await;
    let source = renewed.map_err(|error| Failure::Failed(error.to_string()))?;
    println!("the log is now {source}; the relay copies again what the log has kept");
    Ok(())
}

async fn of_kafka(shop: &Shop, servers: &str) -> String {
    match shop.buses.compare_topics(&shop.log).await {
        None => String::new(),
        Some(Err(reason)) => format!("Kafka at {servers} does not answer: {reason}"),
        Some(Ok(differences)) if differences.is_empty() => {
            format!("Kafka at {servers} answers, and its topics are as the settings have them")
        }
        Some(Ok(differences)) => {
            let lines: Vec<_> = differences.iter().map(|difference| format!("  {difference}")).collect();
            format!("Kafka at {servers} answers, but:\n{}", lines.join("\n"))
        }
    }
}

/// Position -1 means that there is nothing yet.
fn table(settings: &BusSettings, recorded: &BTreeMap<String, String>, partitions: Vec<PartitionStatus>) -> String {
    let row = |row: PartitionStatus| {
        let recorded = recorded.get(&row.topic).map_or("-", String::as_str).to_owned();
        let to_relay = row.to_relay.map_or_else(|| "-".into(), |events| events.to_string());
        let numbers = [row.end.to_string(), row.relayed.to_string(), to_relay, row.in_outbox.to_string()];
        let setting = settings.of(&row.topic).as_str().to_owned();
        let [end, relayed, to_relay, in_outbox] = numbers;
        [row.topic, row.partition.to_string(), setting, recorded, end, relayed, to_relay, in_outbox]
    };
    let rows: Vec<[String; 8]> =
        [COLUMNS.map(str::to_owned)].into_iter().chain(partitions.into_iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..COLUMNS.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default()).collect();
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
