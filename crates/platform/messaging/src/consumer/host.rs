//! Hosts consumer groups: joins each as a member, holds leases, and runs a worker for each partition held.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db::types::{Id, Time};
use db::{Database, Tx};
use parking_lot::Mutex;
use telemetry::metrics;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Numbers, Silence, Subscriber};
use crate::consumer::dead_letters::{self, Resumable};
use crate::consumer::group::{Group, Lease};
use crate::consumer::leases::{self, Digest, Held, Part};
use crate::consumer::marks;
use crate::consumer::offsets::{self, Place, PositionRow};
use crate::consumer::worker::{Shared, Worker};
use crate::event::Event;
use crate::log::Log;

/// Options of hosted groups.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Events handed to a handler at once, at the most.
    pub batch: usize,
    /// Attempts before an event becomes a dead letter.
    pub attempts: i32,
    /// Duration of a lease without a renewal.
    pub lease: Duration,
    /// Maximum time for finishing a batch when the member leaves.
    pub drain: Duration,
    /// Time after which an event that the database refuses counts as failed, while the group handles other events.
    pub fails_alone: Duration,
    /// Time that an event may take to come after the bus has acknowledged it, before it is read from the log. After a quarter
    /// of this time the bus is asked for the reason.
    pub overdue: Duration,
}

impl ConsumerOptions {
    /// Returns the options of the relay, which is faster with large batches.
    pub fn relay() -> Self {
        Self { batch: 2000, ..Self::default() }
    }
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            batch: 500,
            attempts: 4,
            lease: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            fails_alone: Duration::from_secs(180),
            overdue: Duration::from_secs(20),
        }
    }
}

/// Shared state of a group's workers.
pub(crate) struct Context {
    pub(crate) db: Database,
    pub(crate) log: Log,
    pub(crate) bus: Arc<dyn Subscriber>,
    pub(crate) group: Group,
    pub(crate) options: ConsumerOptions,
    pub(crate) alarms: Arc<AtomicU64>,
    pub(crate) orphans: Arc<AtomicU64>,
    /// Time of the last log line about a pause.
    pub(crate) paused: Mutex<Option<Instant>>,
}

/// Consecutive pauses before a log line: a short outage is not worth a line.
const PAUSES_TOLD: u32 = 5;
/// Interval of log lines about a group's pauses: an outage usually affects all partitions.
const PAUSED_AGAIN: Duration = Duration::from_secs(60);

/// Interval of records of positions that are recorded together.
const RECORD_EVERY: Duration = Duration::from_millis(500);

impl Context {
    /// Logs that a partition pauses, for the `pauses`th time in a row.
    pub(crate) fn paused(&self, place: &Place, pauses: u32, why: &str) {
        let (group, topic, partition) = (place.group, &*place.topic, place.partition);
        let mut said = self.paused.lock();
        if pauses < PAUSES_TOLD || said.is_some_and(|said| said.elapsed() < PAUSED_AGAIN) {
            tracing::debug!(group, topic, partition, pauses, why, "paused");
        } else {
            *said = Some(Instant::now());
            tracing::warn!(group, topic, partition, pauses, why, "paused; others of the group may be, too");
        }
    }

    /// Counts a gap that is filled from the log, and raises the alarm if the bus lost the events.
    pub(crate) fn gap(&self, place: &Place, due: i64, came: i64, silence: Silence) {
        let (group, topic, partition, reason) = (place.group, &*place.topic, place.partition, silence.as_str());
        metrics::BUS_GAPS.of([group.into(), place.topic.clone().into(), reason.into()]).increment(1);
        if silence == Silence::Lost {
            self.alarms.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                group,
                topic,
                partition,
                due,
                came,
                "ALARM: the bus left events out; they are read from the log"
            );
        } else {
            tracing::warn!(group, topic, partition, due, came, reason, "bus is silent: events are read from the log");
        }
    }

    /// Counts and logs orphans: events of the bus that the log has lost.
    pub(crate) fn orphans(&self, place: &Place, orphans: &[Event]) {
        self.orphans.fetch_add(orphans.len() as u64, Ordering::Relaxed);
        metrics::BUS_ORPHANS.of([place.group.into(), place.topic.clone().into()]).increment(orphans.len() as u64);
        for orphan in orphans {
            tracing::warn!(
                group = place.group,
                topic = &*place.topic,
                partition = place.partition,
                position = orphan.position,
                event = %orphan.id,
                key = orphan.key,
                epoch = %orphan.epoch,
                "orphan dropped: the log has lost this event"
            );
        }
    }

    /// Records the delay of the first event of a batch, which waited longest.
    pub(crate) fn delay(&self, place: &Place, event: &Event) {
        let micros = Time::now().micros().saturating_sub(event.occurred_at.micros()).max(0);
        metrics::CONSUMER_DELAY_SECONDS.of([place.group.into()]).record(micros as f64 / 1e6);
    }

    /// Returns the origin of the topic's positions; `None` if the topic can't be handled now.
    fn source(&self, topic: &str) -> Option<Id> {
        match self.bus.numbers(topic) {
            Numbers::OfLog => Some(self.log.source()),
            Numbers::OfBus(source) => source,
        }
    }

    fn lag(&self, topic: &str, partition: i32, events: i64) {
        metrics::CONSUMER_LAG
            .of([self.group.name.into(), topic.to_owned().into(), partition.to_string().into()])
            .set(events as f64);
    }

    pub(crate) fn count(&self, place: &Place, outcome: &'static str, events: u64) {
        metrics::CONSUMER_EVENTS.of([place.group.into(), outcome.into()]).increment(events);
    }
}

/// The groups hosted by this process, one member each.
pub struct Consumers {
    stop: CancellationToken,
    members: Vec<JoinHandle<()>>,
    alarms: Arc<AtomicU64>,
    orphans: Arc<AtomicU64>,
}

impl Consumers {
    /// Registers and joins the groups.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn start(
        db: Database,
        log: Log,
        bus: Arc<dyn Bus>,
        groups: Vec<Group>,
        options: ConsumerOptions,
    ) -> db::Result<Self> {
        let (stop, alarms, orphans) = (CancellationToken::new(), Arc::default(), Arc::default());
        // all before any begins, so that after an error nobody is left behind who handles
        for group in groups.clone() {
            let its_log = log.clone();
            db.write(move |tx| offsets::register(tx, &its_log, &group)).await?;
        }
        let mut members = Vec::with_capacity(groups.len());
        for group in groups {
            let context = Context {
                db: db.clone(),
                log: log.clone(),
                bus: bus.subscribe(group.name),
                group,
                options: options.clone(),
                alarms: Arc::clone(&alarms),
                orphans: Arc::clone(&orphans),
                paused: Mutex::default(),
            };
            let member = Member::new(Arc::new(context), stop.clone());
            members.push(tokio::spawn(member.run()));
        }
        Ok(Self { stop, members, alarms, orphans })
    }

    /// Gaps that the bus left by losing events, and that were filled from the log.
    pub fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// Returns the number of orphans delivered by the bus; an orphan read again counts again.
    pub fn orphans(&self) -> u64 {
        self.orphans.load(Ordering::Relaxed)
    }

    /// Leaves the groups: begun batches are finished, and the partitions are revoked.
    pub async fn stop(self) {
        self.stop.cancel();
        for member in self.members {
            if let Err(error) = member.await {
                tracing::error!(%error, "a consumer group ended badly");
            }
        }
    }

    /// Ends at once, as a killed process does: nothing is finished and nothing let go.
    pub fn abort(self) {
        for member in &self.members {
            member.abort();
        }
    }
}

/// A task that ends with the owner.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Running {
    lease: Lease,
    place: Place,
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Owned,
}

impl Running {
    /// Lets the worker finish the batch, and releases the partition.
    async fn let_go(mut self, context: Arc<Context>) {
        let group = context.group.name;
        if timeout(context.options.drain, &mut self.task.0).await.is_err() {
            self.task.0.abort();
            let (topic, partition) = (&*self.lease.topic, self.lease.partition);
            tracing::warn!(group, topic, partition, "a batch was abandoned");
            context.bus.release(topic, partition);
        }
        let lease = self.lease.clone();
        if let Err(error) = context.db.write(move |tx| leases::release(tx, group, &lease)).await {
            tracing::warn!(group, %error, "a lease was not let go; it runs out");
        }
    }
}

struct Member {
    context: Arc<Context>,
    id: Id,
    stop: CancellationToken,
    running: HashMap<Part, Running>,
    /// Partitions with workers finishing their batches; leases of other partitions are renewed meanwhile.
    ending: HashMap<Part, Owned>,
    /// Partitions that can't be handled now, and whose last holder did not release them.
    uneasy: HashSet<Part>,
    valid_until: watch::Sender<Instant>,
    /// Time of the last renewal of the leases.
    renewed: Instant,
    /// Digest of the last complete round; `None` if work was left.
    settled: Option<Digest>,
}

impl Member {
    fn new(context: Arc<Context>, stop: CancellationToken) -> Self {
        let (renewed, settled) = (Instant::now(), None);
        let valid_until = watch::Sender::new(renewed);
        let (id, running, ending, uneasy) = (Id::new(), HashMap::new(), HashMap::new(), HashSet::new());
        Self { context, id, stop, running, ending, uneasy, valid_until, renewed, settled }
    }

    async fn run(mut self) {
        let mut asked = self.context.log.asked();
        let mut tick = every(self.context.options.lease / 4);
        let mut record = every(RECORD_EVERY);
        let records = self.context.group.handler.recorded_together().is_some();
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = asked.changed() => self.settled = None,
                _ = tick.tick() => {}
                _ = record.tick(), if records => {
                    self.record().await;
                    continue;
                }
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(group = self.context.group.name, %error, "the leases were not renewed; trying again");
            }
        }
        self.end_all().await;
    }

    /// Records the workers' handled positions.
    async fn record(&self) {
        let mark = |running: &Running| running.shared.mark(&running.place, &running.lease);
        let marks: Vec<_> = self.running.values().filter_map(mark).collect();
        if marks.is_empty() {
            return;
        }
        let recorded = marks::record(&self.context.db, marks.clone()).await;
        match recorded {
            Ok(()) => marks.iter().for_each(|mark| {
                if let Some(running) = self.running.get(&(mark.place.topic.clone(), mark.place.partition)) {
                    running.shared.recorded(mark.position);
                }
            }),
            Err(error) => {
                tracing::debug!(group = self.context.group.name, %error, "positions were not recorded; trying again");
            }
        }
    }

    /// Renews the leases. After a possible change, starts and stops workers to match the leases.
    async fn renew(&mut self) -> db::Result<()> {
        let (group, id, ttl) = (self.context.group.name, self.id, self.context.options.lease);
        // counted from before it is asked for, so that it never lasts longer here than in the database
        let now = Instant::now();
        let digest = match self.context.db.is_shared() {
            true => self.context.db.statement(move |conn| leases::stay(conn, group, id, ttl)).await?,
            false => None,
        };
        if digest.is_some() && digest == self.settled && self.is_in_line() {
            // no flush followed: with the server this renewal may be lost, but not the one before
            self.valid_until.send_replace(self.renewed + ttl);
            self.renewed = now;
            self.report_lags();
            return Ok(());
        }
        self.settled = None;
        let known_before: HashMap<Part, i64> = self
            .running
            .iter()
            .map(|(part, running)| (part.clone(), running.shared.position.load(Ordering::Relaxed)))
            .collect();
        let look = move |tx: &mut Tx<'_>| -> db::Result<_> {
            let held = leases::renew(tx, group, id, ttl)?;
            Ok((held, offsets::positions_by_source(tx, group)?, dead_letters::resumable(tx, group)?))
        };
        let (held, positions, resumable) = self.context.db.write(look).await?;
        if self.stop.is_cancelled() {
            return Ok(()); // the workers are ending, as they should
        }
        self.renewed = now;
        let surplus = held.surplus;
        self.align(held, now + ttl);
        self.tell_workers(&known_before, &positions, &resumable);
        self.report_lags();
        self.settled = digest.filter(|_| surplus == 0);
        Ok(())
    }

    /// Returns true if this process knows of no worker to start or stop.
    fn is_in_line(&self) -> bool {
        self.ending.is_empty()
            && self.running.iter().all(|((topic, _), running)| {
                !running.task.0.is_finished() && self.context.source(topic) == Some(running.place.source)
            })
    }

    /// Brings the workers in line with the leases.
    fn align(&mut self, held: Held, valid_until: Instant) {
        let group = self.context.group.name;
        self.ending.retain(|_, task| !task.0.is_finished());
        self.running.retain(|(topic, partition), running| {
            if running.task.0.is_finished() {
                tracing::error!(group, topic = &**topic, partition, "a worker ended by itself; another begins");
            }
            !running.task.0.is_finished()
        });
        let numbers: HashMap<(&str, i32), i64> =
            held.leases.iter().map(|(lease, _)| ((&*lease.topic, lease.partition), lease.number)).collect();
        let mut lost: Vec<Part> = self
            .running
            .iter()
            .filter(|((topic, partition), running)| {
                numbers.get(&(&**topic, *partition)) != Some(&running.lease.number)
                    || self.context.source(topic) != Some(running.place.source)
            })
            .map(|(part, _)| part.clone())
            .collect();
        let is_going = |lease: &Lease| self.ending.contains_key(&(lease.topic.clone(), lease.partition));
        let surplus = held.surplus.saturating_sub(held.leases.iter().filter(|(lease, _)| is_going(lease)).count());
        let surplus = self.running.keys().filter(|part| !lost.contains(part)).take(surplus).cloned();
        lost.extend(surplus.collect::<Vec<_>>());
        // first, so that no worker takes what is renewed for its own
        lost.into_iter().for_each(|part| self.end(part));
        self.valid_until.send_replace(valid_until);
        for (lease, careful) in held.leases {
            let part = (lease.topic.clone(), lease.partition);
            if careful {
                self.uneasy.insert(part.clone());
            }
            if !self.ending.contains_key(&part) && !self.running.contains_key(&part) {
                self.begin(part, lease);
            }
        }
    }

    fn begin(&mut self, part: Part, lease: Lease) {
        let Some(source) = self.context.source(&lease.topic) else { return };
        let careful = self.uneasy.remove(&part);
        let shared = Arc::new(Shared::default());
        let stop = self.stop.child_token();
        let (context, valid_until) = (self.context.clone(), self.valid_until.subscribe());
        let worker = Worker::new(context, lease.clone(), source, shared.clone(), valid_until, stop.clone());
        let place = worker.place.clone();
        let worker = if careful { worker.careful() } else { worker };
        let task = tokio::spawn(worker.run());
        self.running.insert(part, Running { lease, place, shared, stop, task: Owned(task) });
    }

    /// Stops the worker and releases the partition, in the background.
    fn end(&mut self, part: Part) {
        let Some(running) = self.running.remove(&part) else { return };
        running.stop.cancel();
        self.context.lag(&part.0, part.1, 0); // another member's from now on
        self.ending.insert(part, Owned(tokio::spawn(running.let_go(self.context.clone()))));
    }

    async fn end_all(&mut self) {
        let parts: Vec<Part> = self.running.keys().cloned().collect();
        parts.into_iter().for_each(|part| self.end(part));
        for task in self.ending.values_mut() {
            if let Err(error) = (&mut task.0).await {
                tracing::error!(group = self.context.group.name, %error, "a partition was not let go; its lease runs out");
            }
        }
        let (group, id) = (self.context.group.name, self.id);
        if let Err(error) = self.context.db.write(move |tx| leases::leave(tx, group, id)).await {
            tracing::warn!(group, %error, "the group was not left; its leases run out");
        }
    }

    /// Wakes the workers with news in the database.
    fn tell_workers(
        &self,
        known_before: &HashMap<Part, i64>,
        positions: &[(Id, PositionRow)],
        resumable: &[Resumable],
    ) {
        let resumable: HashSet<_> = resumable.iter().map(|key| (&*key.topic, key.partition)).collect();
        let positions: HashMap<_, _> =
            positions.iter().map(|(source, row)| ((&*row.topic, row.partition, *source), row.position)).collect();
        for ((topic, partition), running) in &self.running {
            let position = positions.get(&(&**topic, *partition, running.place.source)).copied();
            let known = running.shared.position.load(Ordering::Relaxed);
            // a worker that is getting on is ahead of what was read; only a reset moves it back
            let before = known_before.get(&(topic.clone(), *partition)).copied().unwrap_or(i64::MIN);
            let moved = position.is_some_and(|position| position < before || (known != i64::MIN && position > known));
            if moved || resumable.contains(&(&**topic, *partition)) {
                running.shared.look.notify_one();
            }
        }
    }

    fn report_lags(&self) {
        for ((topic, partition), running) in &self.running {
            let known = running.shared.position.load(Ordering::Relaxed).max(-1);
            let by_log = || Some((*self.context.log.end(topic, *partition)?.borrow() - 1 - known).max(0));
            if let Some(lag) = self.context.bus.waiting(topic, *partition, known).or_else(by_log) {
                self.context.lag(topic, *partition, lag);
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut every = interval(period);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}
