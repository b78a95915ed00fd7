//! Worker: handles one partition for one group, as long as the member holds the lease.

mod batch;
mod failing;
mod replay;
mod retry;
mod setting_aside;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use db::Conn;
use db::types::Id;
use parking_lot::Mutex;
use rand::RngExt;
use telemetry::metrics::outcome;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bus::Silence;
use crate::consumer::dead_letters;
use crate::consumer::group::{Handler, Lease};
use crate::consumer::host::Context;
use crate::consumer::marks::Mark;
use crate::consumer::offsets::{self, Place};
use crate::consumer::pauses::Watch;
use crate::consumer::worker::batch::{Unrecorded, guarded};
use crate::consumer::worker::failing::Failing;
use crate::event::Event;
use crate::log::epochs;
use crate::log::follow::learn_ends;
use crate::log::repartition;
use crate::log::rows;
use crate::relay::set_aside;

/// The longest pause between two tries while something is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pause before the position is read again: another member may still be moving the position.
const STALE_PAUSE: Duration = Duration::from_millis(5);

/// Interval of checks that the group has passed all partition barriers.
const FENCE_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_AT_FENCE: Duration = Duration::from_secs(1);

/// State shared by the member and the worker.
pub(crate) struct Shared {
    /// Position known to the worker.
    pub(crate) position: AtomicI64,
    /// Handled position and the event's epoch, if
    /// [positions are recorded together](crate::EffectHandler::records_together).
    reached: Mutex<Option<(i64, Id)>>,
    /// Rung when the database knows better: a reset, a replay, a discard.
    pub(crate) look: Notify,
}

impl Default for Shared {
    fn default() -> Self {
        Self { position: AtomicI64::new(i64::MIN), reached: Mutex::default(), look: Notify::new() }
    }
}

impl Shared {
    /// Returns true if a position is handled and not recorded.
    pub(crate) fn is_behind(&self) -> bool {
        self.unrecorded().is_some()
    }

    fn unrecorded(&self) -> Option<(i64, Id)> {
        self.reached.lock().filter(|(position, _)| *position > self.position.load(Ordering::Relaxed))
    }

    /// Notes a handled position for the next record.
    pub(crate) fn reach(&self, event: &Event) {
        *self.reached.lock() = Some((event.position, event.epoch));
    }

    /// Returns the mark to record, if any.
    pub(crate) fn mark(&self, place: &Place, lease: &Lease) -> Option<Mark> {
        let (position, epoch) = self.unrecorded()?;
        Some(Mark { place: place.clone(), lease: lease.clone(), position, epoch })
    }

    pub(crate) fn recorded(&self, position: i64) {
        self.position.fetch_max(position, Ordering::Relaxed);
    }
}

pub(crate) struct Worker {
    pub(crate) context: Arc<Context>,
    pub(crate) place: Place,
    pub(crate) lease: Lease,
    pub(crate) shared: Arc<Shared>,
    /// End of the lease without a renewal.
    valid_until: watch::Receiver<Instant>,
    stop: CancellationToken,
    pub(crate) state: Option<State>,
    /// Newest epoch of the log; data of earlier epochs is forgotten.
    epoch: watch::Receiver<Option<Id>>,
    /// Limit of careful handling. The last holder did not release the partition, so an event behind the position may
    /// have killed the holder. Up to this limit, events are handled one by one, with attempts counted beforehand. Not
    /// known before the first read.
    careful: Careful,
    /// An event and its attempts, if the last attempt was interrupted and could not be taken back.
    pub(crate) counted: Option<(Id, i32)>,
    pub(crate) failing: Option<Failing>,
    pauses: Arc<Watch>,
    /// Position behind which the bus had nothing although the bus had acknowledged more; and the time of the first
    /// such fetch.
    missed: Option<(i64, Instant)>,
    /// Consecutive checks that found the partition waiting at a barrier.
    waited_at_fence: u32,
    /// Events handled at once: one after an outage, then more and more again, so that a refused event does not cause
    /// all events before it to be sent again and again.
    batch: usize,
    pub(crate) unrecorded: Option<Unrecorded>,
}

/// State read from the database; dropped and read again after any possible change.
pub(crate) struct State {
    pub(crate) position: i64,
    /// Keys of the topic.
    pub(crate) blocked: HashSet<String>,
    /// Number of the topic's partitions at the time of the read.
    partitions: i32,
    /// Barrier: events from this position on wait for other partitions; `None` if the topic never gained any.
    pub(crate) fence: Option<i64>,
}

impl State {
    fn is_at_fence(&self) -> bool {
        self.fence.is_some_and(|fence| fence <= self.position + 1)
    }
}

enum Careful {
    /// Begins with the first event.
    ToBe,
    Until(i64),
}

/// Reason for the early end of a round.
pub(crate) enum Stop {
    /// Something is away: pause, then the same again.
    Away(String),
    /// Someone else moved the position, or may have: read again.
    Stale,
}

impl From<db::Error> for Stop {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::UnknownOutcome(_) => Self::Stale,
            other => Self::Away(other.to_string()),
        }
    }
}

impl Worker {
    pub(crate) fn new(
        context: Arc<Context>,
        lease: Lease,
        source: Id,
        shared: Arc<Shared>,
        valid_until: watch::Receiver<Instant>,
        stop: CancellationToken,
    ) -> Self {
        let group = context.group.name;
        let place = Place { group, topic: lease.topic.clone(), partition: lease.partition, source };
        let (careful, batch, epoch) = (Careful::Until(-1), context.options.batch, context.log.epoch());
        let pauses = Arc::new(context.log.pauses().watch(&place));
        Self {
            context,
            place,
            lease,
            shared,
            valid_until,
            stop,
            state: None,
            epoch,
            careful,
            counted: None,
            failing: None,
            pauses,
            missed: None,
            waited_at_fence: 0,
            batch,
            unrecorded: None,
        }
    }

    /// Returns a worker that handles carefully, because an event may have killed the last holder.
    pub(crate) fn careful(self) -> Self {
        if self.context.group.handler.gives_up() { Self { careful: Careful::ToBe, ..self } } else { self }
    }

    /// Runs until stopped. Finishes a begun batch first.
    pub(crate) async fn run(mut self) {
        self.work().await;
        self.context.bus.release(&self.place.topic, self.place.partition);
    }

    async fn work(&mut self) {
        let mut pauses = 0_u32;
        while !self.stop.is_cancelled() {
            let mut round = self.round().await;
            // also before what it knows is read again
            if self.state.is_none() || round.is_err() || self.stop.is_cancelled() {
                round = self.record_now().await.and(round);
            }
            match round {
                Ok(()) => {
                    pauses = 0;
                    self.pauses.resume();
                }
                Err(Stop::Stale) => {
                    self.state = None;
                    sleep(STALE_PAUSE).await;
                }
                Err(Stop::Away(why)) => {
                    self.state = None;
                    self.batch = 1;
                    let pause = backoff(pauses);
                    pauses += 1;
                    self.context.paused(&self.place, pauses, &why);
                    self.pauses.pause(&why);
                    tokio::select! { () = self.stop.cancelled() => {}, () = sleep(pause) => {} }
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), Stop> {
        if !self.holds_lease().await {
            return Ok(());
        }
        if self.epoch.has_changed().unwrap_or(false) {
            self.epoch.mark_unchanged();
            self.state = None;
            self.context.bus.release(&self.place.topic, self.place.partition);
        }
        if self.state.is_none() {
            self.look_up().await?;
        }
        let Some(state) = &self.state else { return Ok(()) };
        let position = state.position;
        if state.is_at_fence() {
            let pause = FENCE_PAUSE.saturating_mul(1 << self.waited_at_fence.min(5)).min(LONGEST_AT_FENCE);
            tokio::select! { () = self.stop.cancelled() => {}, () = sleep(pause) => {} }
            (self.state, self.waited_at_fence) = (None, self.waited_at_fence + 1);
            return Ok(());
        }
        self.waited_at_fence = 0;
        let (context, mut epoch) = (self.context.clone(), self.epoch.clone());
        let (topic, partition) = (self.place.topic.clone(), self.place.partition);
        let fetched = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            () = self.shared.look.notified() => {
                self.state = None;
                return Ok(());
            }
            () = self.is_to_record() => return self.record_now().await,
            // the next round forgets
            _ = epoch.changed() => return Ok(()),
            fetched = self.pauses.idle(context.bus.fetch(&topic, partition, position, self.batch)) => fetched,
        };
        let events = fetched.map_err(|error| Stop::Away(error.to_string()))?;
        let events = if !self.is_of_log() {
            self.without_skipped(position, events).await?
        } else if events.is_empty() {
            self.left_out(position).await?
        } else {
            let events = self.without_orphans(position, events).await?;
            self.without_gaps(position, events).await?
        };
        if events.is_empty() || !self.holds_lease().await {
            return Ok(());
        }
        if self.is_of_log() && !self.has_log(&events).await? {
            return Ok(());
        }
        let events = self.before_fence(events);
        let pauses = self.pauses.clone();
        pauses.over("the handler does not end", self.handle(events)).await?;
        self.rest().await;
        Ok(())
    }

    /// Lets an effect handler rest after all events are handled.
    async fn rest(&self) {
        let (Handler::Effect(handler), Some(state)) = (&self.context.group.handler, &self.state) else { return };
        let end = self.context.log.end(&self.place.topic, self.place.partition);
        if end.is_some_and(|end| *end.borrow() <= state.position + 1) {
            tokio::select! { () = self.stop.cancelled() => {}, () = handler.rest() => {} }
        }
    }

    /// Returns only events before the barrier. Drops the state if this process has learned of added partitions since:
    /// an event numbered later never comes before this process knows of the partitions.
    fn before_fence(&mut self, mut events: Vec<Event>) -> Vec<Event> {
        let known = self.context.log.partitions(&self.place.topic);
        let Some(state) = self.state.as_ref().filter(|state| state.partitions == known) else {
            self.state = None;
            return Vec::new();
        };
        if let Some(fence) = state.fence {
            events.retain(|event| event.position < fence);
        }
        events
    }

    /// Reads position and blocked keys, calls an effect handler's `taken`, and resumes keys.
    async fn look_up(&mut self) -> Result<(), Stop> {
        let (place, group) = (self.place.clone(), self.place.group);
        // before the rest, so that what was gained meanwhile is noticed
        let partitions = self.context.log.partitions(&place.topic);
        let (position, fence, blocked, resumable, standing) = self
            .context
            .db
            .read(move |conn| -> db::Result<_> {
                let resumable = dead_letters::resumable(conn, group)?;
                let (fence, blocked) = (repartition::ahead(conn, &place)?, dead_letters::blocked(conn, &place)?);
                Ok((offsets::position(conn, &place)?, fence, blocked, resumable, epochs::standing(conn)?))
            })
            .await?;
        if !self.context.log.stands(&self.context.db, standing).await? {
            return Err(Stop::Stale);
        }
        let position = position.ok_or_else(|| Stop::Away("the group is not registered".into()))?;
        if let Handler::Effect(handler) = &self.context.group.handler {
            let taken = guarded(async { handler.taken(&self.lease).await });
            let taken = tokio::select! { () = self.stop.cancelled() => return Ok(()), taken = taken => taken };
            taken.map_err(|error| Stop::Away(error.to_string()))?;
        }
        // first, so that the member finds nothing to record in between
        *self.shared.reached.lock() = None;
        self.shared.position.store(position, Ordering::Relaxed);
        self.state = Some(State { position, blocked, partitions, fence });
        for key in resumable {
            if *key.topic == *self.place.topic && key.partition == self.place.partition {
                self.resume(&key).await?;
            }
        }
        Ok(())
    }

    /// Waits for a valid lease; returns false at a stop. A member that was frozen finds an expired lease, and waits
    /// for a renewal in the database.
    pub(crate) async fn holds_lease(&mut self) -> bool {
        let renewed = self.valid_until.wait_for(|until| *until > Instant::now());
        tokio::select! {
            () = self.stop.cancelled() => false,
            valid = self.pauses.over("the lease is not renewed", renewed) => valid.is_ok(),
        }
    }

    /// Skips handled events, and fills gaps from the log; the returned positions have no gap.
    async fn without_gaps(&self, position: i64, fetched: Vec<Event>) -> Result<Vec<Event>, Stop> {
        let mut events: Vec<Event> = Vec::with_capacity(fetched.len());
        for event in fetched.into_iter().filter(|event| event.position > position) {
            let due = events.last().map_or(position, |last| last.position) + 1;
            if event.position < due {
                continue;
            }
            if event.position > due {
                let missing = ((event.position - due) as usize).min(self.context.options.batch);
                let place = &self.place;
                let (db, log) = (&self.context.db, &self.context.log);
                let (topic, partition) = (place.topic.clone(), place.partition);
                let set_aside = move |conn: &mut Conn| set_aside::run(conn, &topic, partition, due - 1, missing);
                if db.read(set_aside).await? < missing {
                    self.context.gap(place, due, event.position, Silence::Lost);
                }
                let found = rows::read_events(db, log, &place.topic, place.partition, due - 1, missing).await?;
                if !found.iter().map(|event| event.position).eq(due..due + missing as i64) {
                    return Err(Stop::Away(format!(
                        "events {due} to {} are neither on the bus nor in the log",
                        event.position - 1
                    )));
                }
                events.extend(found);
                if due + (missing as i64) < event.position {
                    break; // the rest of the gap comes in its turn, and is no more to hold than a batch
                }
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Drops orphans: events of the bus that the log has lost. The bus goes on behind the orphans, also where the log
    /// gives the same positions again.
    async fn without_orphans(&self, position: i64, fetched: Vec<Event>) -> Result<Vec<Event>, Stop> {
        let (events, orphans) = self.context.log.without_orphans(&self.context.db, fetched).await?;
        if !orphans.is_empty() {
            self.context.orphans(&self.place, &orphans);
            let after = events.last().map_or(position, |last| last.position.max(position));
            self.context.bus.dropped(&self.place.topic, self.place.partition, after);
        }
        Ok(events)
    }

    /// Returns false if the log has not come to the last event. Then the log was restored in a way that the life of the
    /// storage does not show: an epoch is opened, and the event is an orphan.
    async fn has_log(&self, events: &[Event]) -> Result<bool, Stop> {
        let (db, log, (topic, partition)) =
            (&self.context.db, &self.context.log, (&self.place.topic, self.place.partition));
        let Some(last) = events.last() else { return Ok(true) };
        let is_known = || log.end(topic, partition).is_none_or(|end| last.position < *end.borrow());
        if is_known() {
            return Ok(true);
        }
        // this process may not have heard of the event yet
        let of = topic.clone();
        learn_ends(db, log, move |conn| rows::partitions_of(conn, &of)).await?;
        if is_known() {
            return Ok(true);
        }
        let (last, its_log) = (last.clone(), log.clone());
        let open = move |tx: &mut db::Tx<'_>| -> db::Result<()> {
            if let Some(rows) = epochs::open_unseen(tx, &last)? {
                let (log, life) = (its_log.clone(), tx.life());
                tx.after_commit(move || log.set_epochs(life, rows));
            }
            Ok(())
        };
        db.write(open).await?;
        Ok(false)
    }

    /// Moves past skipped records, for topics with gaps.
    async fn without_skipped(&mut self, position: i64, fetched: Vec<Event>) -> Result<Vec<Event>, Stop> {
        let (skipped, events): (Vec<_>, Vec<_>) =
            fetched.into_iter().filter(|event| event.position > position).partition(Event::is_skipped);
        if skipped.is_empty() && events.is_empty() {
            self.doubt(position).await;
        }
        if let (Some(last), true) = (skipped.last(), events.is_empty()) {
            let step = self.step(position, &vec![last.clone()].into());
            if !self.context.db.write(step).await? {
                return Err(Stop::Stale);
            }
            self.state = None; // where to go on is read again
        }
        Ok(events)
    }

    /// Has a deaf client replaced, where the bus alone knows how much it holds.
    async fn doubt(&mut self, position: i64) {
        let waiting = self.context.bus.waiting(&self.place.topic, self.place.partition, position);
        match self.missed {
            _ if waiting.is_none_or(|events| events == 0) => self.missed = None,
            Some((missed, since)) if missed == position => drop(self.silence(since).await),
            _ => self.missed = Some((position, Instant::now())),
        }
    }

    /// Returns events from the log that the bus has acknowledged and not delivered behind `position`.
    async fn left_out(&mut self, position: i64) -> Result<Vec<Event>, Stop> {
        let (db, log, place) = (&self.context.db, &self.context.log, &self.place);
        if log.end(&place.topic, place.partition).is_none_or(|end| *end.borrow() <= position + 1) {
            return Ok(Vec::new()); // there is nothing more anywhere
        }
        let (topic, partition, source) = (place.topic.clone(), place.partition, place.source);
        let batch = self.context.options.batch;
        let look = move |conn: &mut Conn| -> db::Result<_> {
            let set_aside = set_aside::run(conn, &topic, partition, position, batch)?;
            Ok((rows::relayed(conn, &topic, partition, source)?, set_aside))
        };
        let (relayed, set_aside) = db.read(look).await?;
        if relayed <= position {
            return Ok(Vec::new());
        }
        if set_aside == 0 {
            // it may have been acknowledged just now, and be on its way here
            let silence = match self.missed {
                Some((missed, since)) if missed == position => self.silence(since).await,
                _ => {
                    self.missed = Some((position, Instant::now()));
                    None
                }
            };
            let Some(silence) = silence else { return Ok(Vec::new()) };
            self.context.gap(place, position + 1, relayed + 1, silence);
        }
        let missing = if set_aside > 0 { set_aside } else { ((relayed - position) as usize).min(batch) };
        let found = rows::read_events(db, log, &place.topic, place.partition, position, missing).await?;
        if !found.iter().map(|event| event.position).eq(position + 1..=position + missing as i64) {
            return Err(Stop::Away(format!("events from {} on are neither on the bus nor in the log", position + 1)));
        }
        Ok(found)
    }

    /// Asks the bus why it has brought nothing since then, which also replaces a deaf client; `None` while the events may
    /// still be on their way.
    async fn silence(&self, since: Instant) -> Option<Silence> {
        let overdue = self.context.options.overdue;
        if since.elapsed() < overdue / 4 {
            return None;
        }
        let silence = self.context.bus.silence(&self.place.topic, self.place.partition).await;
        (since.elapsed() > overdue).then_some(silence)
    }

    async fn handle(&mut self, events: Vec<Event>) -> Result<(), Stop> {
        if let Some(handler) = self.context.group.handler.recorded_together().cloned() {
            return self.handle_in_runs(&handler, &events).await;
        }
        let Some(state) = &self.state else { return Ok(()) };
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        let careful_until = match self.careful {
            // a batch of then, which may have been larger than this one
            Careful::ToBe => last.position.max(first.position - 1 + self.context.options.batch as i64),
            Careful::Until(end) => end,
        };
        self.careful = Careful::Until(careful_until);
        let plain = events[0].position > careful_until
            && (state.blocked.is_empty() || !events.iter().any(|event| state.blocked.contains(&event.key)));
        let events: Arc<[Event]> = events.into();
        if plain {
            match self.try_events(&events, false).await? {
                Ok(()) => return self.moved(&events, outcome::HANDLED),
                Err(why) => tracing::info!(group = self.place.group, why, "a batch failed; its events go one by one"),
            }
        }
        for event in events.iter() {
            // one by one takes its time, in which the lease may go or the process be asked to stop
            if !self.holds_lease().await {
                return Ok(());
            }
            self.handle_alone(event).await?;
        }
        Ok(())
    }

    pub(crate) fn moved(&mut self, events: &[Event], how: &'static str) -> Result<(), Stop> {
        if let (Some(state), Some(last)) = (&mut self.state, events.last()) {
            self.pauses.resume();
            state.position = last.position;
            self.batch = (self.batch * 2).min(self.context.options.batch);
            if self.unrecorded.is_none() && !self.shared.is_behind() {
                self.shared.position.store(last.position, Ordering::Relaxed);
            }
            if matches!(self.careful, Careful::Until(end) if last.position >= end) {
                self.careful = Careful::Until(-1); // a reset would lead back under it
            }
            self.context.count(&self.place, how, events.len() as u64);
            self.context.delay(&self.place, &events[0]);
        }
        Ok(())
    }
}

/// Returns a pause that doubles from 50 ms, with jitter, so that many members do not come back at once.
pub(crate) fn backoff(tries: u32) -> Duration {
    let full = Duration::from_millis(50).saturating_mul(1 << tries.min(7)).min(LONGEST_PAUSE);
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}
