//! Health of long-lived clients, none of which is trusted to heal itself.
//!
//! librdkafka 2.12 forgets every broker when one of them answers that the cluster has no brokers, and then never connects
//! again (<https://github.com/confluentinc/librdkafka/issues/5301>). Brokers that have just started answer so.
//!
//! 1. Each place of a long-lived client has a [`Health`], which outlives the client.
//! 2. The owner tells the health of each answer and of each error.
//! 3. While a new client reaches Kafka, [`Clients::look`] probes each client that has heard nothing since the last look.
//!    While Kafka is away, nothing is probed.
//! 4. Probes without an answer, or errors, in a row mark the client as deaf; then [`Kept::works`] is false, and the owner
//!    makes another client. Between two replacements without an answer is a pause that doubles.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use messaging::BusError;
use parking_lot::Mutex;
use telemetry::metrics;

use crate::client::{Connects, Kafka, blocking};

/// Time in which a client must answer a probe.
const PATIENCE: Duration = Duration::from_secs(5);
/// Probes without an answer that make a client deaf: one of them may have gone to a slow broker.
const PROBES: u32 = 2;
/// Errors without an answer in between that make a client deaf.
const ERRORS: u32 = 3;
/// The shortest and the longest pause between two replacements.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// Time without an answer that shows in readiness.
const SILENT: Duration = Duration::from_secs(15);

/// Places of long-lived clients of a cluster.
#[derive(Default)]
pub(crate) struct Clients(Mutex<Vec<Weak<Health>>>);

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// Adds a place. The name is for operators.
    pub(crate) fn place(&self, name: String) -> Arc<Health> {
        let health = Arc::new(Health { name, state: Mutex::default() });
        self.0.lock().push(Arc::downgrade(&health));
        health
    }

    /// Probes the silent clients if the cluster `is_there` for a new client. Returns true if one is still silent.
    pub(crate) async fn look(&self, is_there: bool) -> bool {
        let looks = join_all(self.all().into_iter().map(async |health| health.look(is_there).await)).await;
        looks.contains(&true)
    }

    /// Returns a line for each client that has been silent for some time.
    pub(crate) fn silent(&self) -> Vec<String> {
        self.all().iter().filter_map(|health| health.line()).collect()
    }

    fn all(&self) -> Vec<Arc<Health>> {
        let mut places = self.0.lock();
        places.retain(|place| place.strong_count() > 0);
        places.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Health of one place, over all clients that follow each other there.
pub(crate) struct Health {
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<Weak<dyn Probe>>,
    /// Topic that a probe asks for; all topics without one.
    topic: Option<String>,
    /// Time of the last answer, or of the first client; `None` while no client is needed.
    heard: Option<Instant>,
    heard_since_look: bool,
    /// In a row.
    probes: u32,
    errors: u32,
    replaced: u32,
    /// Time before which no client is replaced.
    rest_until: Option<Instant>,
    /// The last error.
    why: String,
}

impl State {
    fn silent_for(&self) -> Duration {
        self.heard.map_or(Duration::ZERO, |heard| heard.elapsed())
    }
}

/// A client as its health sees it.
trait Probe: Send + Sync {
    /// Waits for an answer of a broker.
    fn ask(&self, topic: Option<&str>) -> Result<(), BusError>;

    /// Has the owner make another client.
    fn give_up(&self);
}

impl Health {
    fn begin(&self, client: Weak<dyn Probe>) {
        let mut state = self.state.lock();
        state.client = Some(client);
        state.heard.get_or_insert_with(Instant::now);
        state.heard_since_look = true; // a new client is not probed at once
    }

    /// Notes that no client is needed until the owner makes one.
    pub(crate) fn idle(&self) {
        *self.state.lock() = State::default();
        self.measure(Duration::ZERO);
    }

    fn heard(&self, topic: Option<&str>) {
        let mut state = self.state.lock();
        if let Some(topic) = topic.filter(|topic| state.topic.as_deref() != Some(*topic)) {
            state.topic = Some(topic.to_owned());
        }
        (state.heard, state.heard_since_look, state.rest_until) = (Some(Instant::now()), true, None);
        (state.probes, state.errors, state.replaced) = (0, 0, 0);
    }

    async fn look(&self, is_there: bool) -> bool {
        let silent = {
            let mut state = self.state.lock();
            let was_heard = std::mem::take(&mut state.heard_since_look);
            let client = state.client.as_ref().filter(|_| !was_heard && is_there).and_then(Weak::upgrade);
            client.map(|client| (client, state.topic.clone()))
        };
        if let Some((client, topic)) = silent {
            let asked = client.clone();
            match blocking(move || asked.ask(topic.as_deref())).await {
                Ok(()) => self.answered(),
                Err(error) => self.failed(&*client, &error, |state| state.probes += 1),
            }
        }
        let state = self.state.lock();
        if state.heard.is_some() {
            self.measure(state.silent_for());
        }
        state.probes > 0
    }

    /// Notes the answer to a probe. Errors still count: metadata may be all that the client hears of.
    fn answered(&self) {
        let mut state = self.state.lock();
        (state.heard, state.probes) = (Some(Instant::now()), 0);
    }

    /// Counts a failure, and gives up a client that failed too often.
    fn failed(&self, client: &dyn Probe, why: &BusError, count: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        count(&mut state);
        state.why = why.to_string();
        let is_deaf = state.probes >= PROBES || state.errors >= ERRORS;
        if !is_deaf || state.rest_until.is_some_and(|rest| rest > Instant::now()) {
            return;
        }
        let pause = SHORTEST.saturating_mul(1 << state.replaced.min(8)).min(LONGEST);
        (state.probes, state.errors, state.rest_until) = (0, 0, Some(Instant::now() + pause));
        state.replaced += 1;
        client.give_up();
        metrics::KAFKA_CLIENTS_REPLACED.of([self.name.clone().into()]).increment(1);
        let (silent_seconds, why) = (state.silent_for().as_secs(), &state.why);
        tracing::warn!(client = self.name, silent_seconds, why, "deaf Kafka client is replaced");
    }

    fn line(&self) -> Option<String> {
        let state = self.state.lock();
        let silent = state.silent_for();
        let why = if state.why.is_empty() { String::new() } else { format!(": {}", state.why) };
        (silent >= SILENT).then(|| format!("{} hears nothing for {} s{why}", self.name, silent.as_secs()))
    }

    fn measure(&self, silent: Duration) {
        metrics::KAFKA_SILENT_SECONDS.of([self.name.clone().into()]).set(silent.as_secs_f64());
    }
}

/// A long-lived client, closed on a thread of its own, for closing may wait for brokers that are away. A producer gives up
/// its queued records, so that none of them follows the records of its successor.
pub(crate) struct Kept<C: Connects>(Arc<Inner<C>>);

struct Inner<C: Connects> {
    client: Option<Arc<C>>,
    is_deaf: AtomicBool,
    health: Arc<Health>,
}

impl Kafka {
    /// Makes a long-lived client for the place of `health`.
    pub(crate) fn keep<C: Connects>(&self, health: &Arc<Health>, ours: &[(&str, &str)]) -> Result<Kept<C>, BusError> {
        let client = Some(Arc::new(self.client(ours)?));
        let inner = Arc::new(Inner { client, is_deaf: AtomicBool::new(false), health: health.clone() });
        let probed: Weak<Inner<C>> = Arc::downgrade(&inner);
        health.begin(probed);
        Ok(Kept(inner))
    }
}

impl<C: Connects> Kept<C> {
    /// Returns false if another client should take the place.
    pub(crate) fn works(&self) -> bool {
        !self.0.is_deaf.load(Ordering::Relaxed) && self.inner().fatal_error().is_none()
    }

    /// Returns true if the last probe had no answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.health.state.lock().probes > 0
    }

    /// Notes an answer, to a request about `topic` if there is one.
    pub(crate) fn heard(&self, topic: Option<&str>) {
        self.0.health.heard(topic);
    }

    /// Notes an error.
    pub(crate) fn failed(&self, why: &BusError) {
        self.0.health.failed(&*self.0, why, |state| state.errors += 1);
    }

    /// Notes that the client does not deliver, though it answers.
    pub(crate) fn stuck(&self, why: &BusError) {
        self.0.health.failed(&*self.0, why, |state| state.errors = ERRORS);
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<C: Connects> Clone for Kept<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Connects> Deref for Kept<C> {
    type Target = Arc<C>;
    fn deref(&self) -> &Arc<C> {
        self.0.client.as_ref().expect("only drop takes the client")
    }
}

impl<C: Connects> Probe for Inner<C> {
    fn ask(&self, topic: Option<&str>) -> Result<(), BusError> {
        let Some(client) = &self.client else { return Ok(()) };
        let metadata = client.inner().fetch_metadata(topic, PATIENCE).map_err(|error| crate::client::away(&error))?;
        crate::client::names_brokers(&metadata)
    }

    fn give_up(&self) {
        self.is_deaf.store(true, Ordering::Relaxed);
    }
}

impl<C: Connects> Drop for Inner<C> {
    fn drop(&mut self) {
        let client = self.client.take();
        drop(std::thread::spawn(move || drop(client)));
    }
}
