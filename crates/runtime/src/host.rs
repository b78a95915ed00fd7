//! Runs and stops the background work of a shop, or the work of a worker.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use messaging::{Bus, ConsumerOptions, Consumers, Group, InProcess, Paced};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::shop::Shop;
use crate::{background, record};

/// Pause before the restart of a panicked task.
const RESTART: Duration = Duration::from_secs(1);

/// Task of a process.
#[derive(Clone)]
pub enum Role {
    /// The API's: expiry of orders, deletion of old rows; consumer groups and the relay as the settings say.
    Shop,
    /// The relay to Kafka.
    Relay,
    /// A member of these groups.
    Consumer(Vec<Group>),
}

/// Running background work, or the work of a worker.
#[derive(Default)]
pub struct Hosted {
    /// Stops expiry and deletion, which make work for groups.
    chores: CancellationToken,
    /// Stops the log and the tasks of the buses.
    below: CancellationToken,
    consumers: Vec<Consumers>,
    tasks: JoinSet<()>,
}

impl Shop {
    /// Hosts the background work of the API's process.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn host(&self) -> db::Result<Hosted> {
        self.host_as(Role::Shop).await
    }

    /// Hosts the work of a process with `role`. Registered groups without a host fall behind.
    ///
    /// # Errors
    /// The database's; nothing is left running.
    pub async fn host_as(&self, role: Role) -> db::Result<Hosted> {
        // a worker that is started with old settings must not take the relay away from all others
        if !matches!(role, Role::Consumer(_)) {
            record::record(self).await?;
        }
        let mut hosted = Hosted::default();
        if let Err(error) = hosted.join_groups(self, &role).await {
            hosted.abort();
            return Err(error);
        }
        hosted.start_tasks(self, &role);
        Ok(hosted)
    }

    /// Returns true if a process with `role` can't work without Kafka.
    pub fn needs_kafka(&self, role: &Role) -> bool {
        match role {
            Role::Shop => false,
            Role::Relay => !self.buses.on_kafka().is_empty(),
            Role::Consumer(groups) => {
                let is_there = |topic: &&str| self.buses.on_kafka().contains(topic);
                groups.iter().any(|group| self.foreign.is_read_by(group.name) || group.topics.iter().any(is_there))
            }
        }
    }
}

impl Hosted {
    async fn join_groups(&mut self, shop: &Shop, role: &Role) -> db::Result<()> {
        let host = &shop.settings.host;
        let mut bus = shop.buses.of_consumers(&shop.db, &shop.log, &shop.foreign);
        let groups = match role {
            Role::Shop if host.consumers => shop.groups.to_vec(),
            Role::Shop | Role::Relay => Vec::new(),
            Role::Consumer(groups) => {
                if let Some(most) = shop.settings.worker.events_per_second {
                    bus = Arc::new(Paced::new(bus, most));
                }
                groups.clone()
            }
        };
        self.join(shop, bus, groups, ConsumerOptions::default()).await?;
        let relays = matches!(role, Role::Relay) || matches!(role, Role::Shop if host.relay);
        match shop.buses.relay().filter(|_| relays) {
            // whatever bus its topics are on, it reads the log
            Some(relay) => {
                let log = Arc::new(InProcess::new(shop.db.clone(), shop.log.clone()));
                self.join(shop, log, vec![relay], ConsumerOptions::relay()).await
            }
            None => Ok(()),
        }
    }

    async fn join(
        &mut self,
        shop: &Shop,
        bus: Arc<dyn Bus>,
        groups: Vec<Group>,
        options: ConsumerOptions,
    ) -> db::Result<()> {
        self.consumers.push(Consumers::start(shop.db.clone(), shop.log.clone(), bus, groups, options).await?);
        Ok(())
    }

    fn start_tasks(&mut self, shop: &Shop, role: &Role) {
        let (chores, below) = (self.chores.clone(), self.below.clone());
        if let Role::Shop = role {
            self.spawn("expiry", shop, &chores, background::expire_orders);
            self.spawn("purge", shop, &chores, background::purge);
            if shop.db.is_shared() {
                self.spawn("notification streams", shop, &below, |shop, stop| shop.hub.follow(shop.db, stop));
            }
        }
        if let Role::Shop | Role::Relay = role {
            self.spawn("report", shop, &chores, background::report);
        }
        self.spawn("log", shop, &below, |shop, stop| messaging::follow_log(shop.db, shop.log, stop));
        self.spawn("record", shop, &below, record::watch);
        let reads_others = |groups: &[Group]| groups.iter().any(|group| shop.foreign.is_read_by(group.name));
        if matches!(role, Role::Shop) || matches!(role, Role::Consumer(groups) if reads_others(groups)) {
            self.spawn("topics of others", shop, &below, |shop, stop| shop.foreign.keep(stop));
        }
        self.spawn("kafka", shop, &below, |shop, stop| shop.buses.watch(shop.log, stop));
    }

    fn spawn<F>(
        &mut self,
        name: &'static str,
        shop: &Shop,
        stop: &CancellationToken,
        work: impl Fn(Shop, CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (shop, stop) = (shop.clone(), stop.clone());
        self.tasks.spawn(supervised(name, stop, move |stop| work(shop.clone(), stop)));
    }

    /// Returns the number of bus gaps filled from the log; any number above 0 is an alarm.
    pub fn alarms(&self) -> u64 {
        self.consumers.iter().map(Consumers::alarms).sum()
    }

    /// Finishes running work within `deadline`. Returns `false` for interrupted work: nothing is lost, and the next
    /// start repeats the work.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        let all = async {
            self.chores.cancel();
            join_all(self.consumers.into_iter().map(Consumers::stop)).await;
            // last, so that what the others emitted at the end has its positions
            self.below.cancel();
            while self.tasks.join_next().await.is_some() {}
        };
        timeout(deadline, all).await.is_ok()
    }

    /// Ends at once, as a killed process does.
    pub fn abort(mut self) {
        self.consumers.into_iter().for_each(Consumers::abort);
        self.tasks.abort_all();
    }
}

/// Runs `work` to the end; restarts `work` after a panic.
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
