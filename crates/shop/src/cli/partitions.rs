//! `shop bus partitions`.

use messaging::RaiseError;
use program::process::Failure;
use runtime::Shop;
use runtime::settings::Settings;

/// Raises a topic's partitions in the log, and then on Kafka if the topic is there. A repeat completes an interrupted
/// run.
pub(super) async fn raise(settings: Settings, topic: String, count: i32) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let (log, of) = (shop.log.clone(), topic.clone());
    let raised = shop.db.write(move |tx| messaging::raise_partitions(tx, &log, &of, count)).await;
    let on_kafka = match &raised {
        Ok(_) => shop.buses.ensure_topic(&topic, &shop.log).await,
        Err(_) => Ok(false),
    };
    shop.close().await;
    let there = raised.map_err(|error| match error {
        RaiseError::Database(error) => error.into(),
        refused => Failure::Usage(refused.to_string()),
    })?;
    println!("{topic} has {count} partitions in the log, and had {there}");
    match on_kafka {
        Ok(true) => println!("on Kafka it has them, too"),
        Ok(false) => {}
        Err(reason) => {
            let later = "a shop that runs makes them there within a minute of its return, and so does this, run again";
            return Err(Failure::Failed(format!("Kafka did not make them ({reason}); {later}")));
        }
    }
    Ok(())
}
