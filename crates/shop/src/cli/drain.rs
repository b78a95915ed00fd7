//! `shop drain`.

use std::time::{Duration, Instant};

use contracts::topics;
use messaging::Group;
use program::process::{Failure, Stop};
use runtime::settings::Settings;
use runtime::{Role, Shop};

/// Interval between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Interval between two lines of output.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Time for the end of begun work, after all requests are handled.
const FINISH: Duration = Duration::from_secs(10);

/// Refuses new requests for coupons, and helps to handle the accepted requests: then no request is left on the
/// current bus.
pub(super) async fn drain(settings: Settings) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let shop = Shop::open(settings).await?;
    shop.direct.close().await?;
    let is_reader = |group: &&Group| group.topics.iter().any(|topic| topics::DIRECT.contains(topic));
    let readers = shop.groups.iter().filter(is_reader).cloned().collect();
    let hosted = shop.host_as(Role::Consumer(readers)).await?;
    let drained = tokio::select! {
        drained = until_drained(&shop) => drained,
        () = stop.asked() => Err(Failure::Failed("stopped before all was handled; no requests are taken".into())),
    };
    hosted.stop(FINISH).await;
    shop.close().await;
    drained?;
    println!("drained: no request for a coupon waits, and none is taken until a shop starts");
    Ok(())
}

async fn until_drained(shop: &Shop) -> Result<(), Failure> {
    let mut told = Instant::now();
    loop {
        shop.direct.refresh().await?;
        if topics::DIRECT.iter().any(|topic| shop.direct.epoch(topic).is_some()) {
            return Err(Failure::Failed("another process has started, and takes requests again".into()));
        }
        if shop.direct.is_drained() {
            return Ok(());
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            match shop.direct.away() {
                Some(away) => println!("waiting for Kafka: {away}"),
                None => println!("{} requests wait", shop.direct.waiting()),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
