//! `shop bus give-up`.

use messaging::{GiveUpError, Lost};
use program::process::Failure;
use runtime::Shop;
use runtime::settings::Settings;

/// Gives up requests on an unavailable or replaced cluster.
pub(super) async fn give_up(settings: Settings, topic: &str, yes: bool) -> Result<(), Failure> {
    let shop = Shop::open(settings).await?;
    let lost = if yes { shop.direct.give_up(topic).await } else { shop.direct.lost(topic).await };
    shop.close().await;
    let lost = lost.map_err(|error| match error {
        GiveUpError::Database(error) => error.into(),
        GiveUpError::NotDirect(_) => Failure::Usage(error.to_string()),
        GiveUpError::Answers(..) => Failure::Failed(format!("{error} (shop drain)")),
    })?;
    if lost.is_empty() {
        println!("nothing of {topic} waits on Kafka");
        return Ok(());
    }
    lost.iter().for_each(|lost| println!("{}", told(lost)));
    if !yes {
        let reason = "they would be lost for good, though they were answered 202; add --yes to give them up";
        return Err(Failure::Usage(reason.into()));
    }
    println!("given up: requests for coupons are taken again, and those lost can be asked for again");
    Ok(())
}

fn told(lost: &Lost) -> String {
    let cluster = lost.cluster.as_deref().unwrap_or("-");
    match lost.events {
        Some(events) => format!("epoch {} on the cluster {cluster}: at most {events} events wait", lost.epoch),
        None => format!("epoch {} on the cluster {cluster}: only that knows how many events wait", lost.epoch),
    }
}
