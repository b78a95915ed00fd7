//! Runs what a shop needs beside its API, and stops it again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use messaging::{ConsumerOptions, Consumers, Group, InProcess};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::background;
use crate::shop::Shop;

/// Before a task that panicked is started again.
const RESTART: Duration = Duration::from_secs(1);

/// What runs beside the API: the sequencer (PostgreSQL), consumer groups, expiry of orders, deletion of old rows.
pub struct Hosted {
    /// Expiry and deletion, which make work for others.
    chores: CancellationToken,
    sequencer: CancellationToken,
    consumers: Consumers,
    tasks: JoinSet<()>,
}

impl Shop {
    /// Hosts all groups, and everything else.
    ///
    /// # Errors
    /// The database's.
    pub async fn host(&self) -> db::Result<Hosted> {
        self.host_groups(self.groups.to_vec()).await
    }

    /// Hosts these groups, and everything else. The others, if registered, fall behind.
    ///
    /// # Errors
    /// The database's.
    pub async fn host_groups(&self, groups: Vec<Group>) -> db::Result<Hosted> {
        let (db, log) = (self.db.clone(), self.log.clone());
        let bus = Arc::new(InProcess::new(db.clone(), log.clone()));
        let consumers = Consumers::start(db, log, bus, groups, ConsumerOptions::default()).await?;
        let (chores, sequencer) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let of = self.clone();
        tasks.spawn(supervised("sequencer", sequencer.clone(), move |stop| {
            messaging::run_sequencer(of.db.clone(), of.log.clone(), stop)
        }));
        let of = self.clone();
        tasks.spawn(supervised("expiry", chores.clone(), move |stop| background::expire_orders(of.clone(), stop)));
        let of = self.clone();
        tasks.spawn(supervised("purge", chores.clone(), move |stop| background::purge(of.clone(), stop)));
        let of = self.clone();
        tasks.spawn(supervised("report", chores.clone(), move |stop| background::report(of.clone(), stop)));
        Ok(Hosted { chores, sequencer, consumers, tasks })
    }
}

impl Hosted {
    /// Gaps that the bus left and that were filled from the log; more than none is an alarm.
    pub fn alarms(&self) -> u64 {
        self.consumers.alarms()
    }

    /// Lets everything finish what it began, within `deadline`. `false` when something was cut short: nothing is
    /// lost by it, it is done again at the next start.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        let all = async {
            self.chores.cancel();
            self.consumers.stop().await;
            // last, so that what the others emitted at the end has its positions
            self.sequencer.cancel();
            while self.tasks.join_next().await.is_some() {}
        };
        timeout(deadline, all).await.is_ok()
    }

    /// Ends at once, as a killed process does.
    pub fn abort(mut self) {
        self.consumers.abort();
        self.tasks.abort_all();
    }
}

/// Runs `work` until it ends by itself; should it panic, again.
async fn supervised<F>(name: &'static str, stop: CancellationToken, work: impl Fn(CancellationToken) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut run = JoinSet::new();
    loop {
        run.spawn(work(stop.clone()));
        match run.join_next().await {
            Some(Err(error)) if error.is_panic() && !stop.is_cancelled() => {
                tracing::error!(task = name, %error, "a task panicked; it is started again");
                sleep(RESTART).await;
            }
            _ => return,
        }
    }
}
