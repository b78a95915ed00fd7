//! Health of long-lived clients, none of which is trusted to heal itself.
//!
//! librdkafka 2.12 forgets every broker when one of them answers that the cluster has no brokers, and then never connects
//! again (<https://github.com/confluentinc/librdkafka/issues/5301>). Brokers that have just started answer so.
//!
//! 1. Each place of a long-lived client has a [`Health`], which outlives the client.
//! 2. The owner tells the health of each answer and of each error.
//! 3. While a new client reaches Kafka, [`Clients::look`] probes each client that has heard nothing since the last look.
//!    While Kafka is away, nothing is probed.
//! 4. Probes without an answer in a row, or errors in a row for some seconds, mark the client as deaf; then
//!    [`Kept::works`] is false, and the owner makes another client. Between two replacements is a pause, which doubles
//!    until a client lasts.

use std::fmt;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use messaging::BusError;
use parking_lot::Mutex;
use program::process::one_line;
use telemetry::metrics;

use crate::connection::{Connects, Kafka, blocking};

/// Time in which a client must answer a probe.
const PATIENCE: Duration = Duration::from_secs(5);
/// Probes without an answer that make a client deaf: one of them may have gone to a slow broker.
const PROBES: u32 = 2;
/// Errors without an answer in between that make a client deaf, if they go on for [`PATIENCE`]: a client may hear of a new
/// topic, or of a new leader, later than it asks.
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
    /// Time of the first of these errors.
    failing_since: Option<Instant>,
    replaced: u32,
    /// Time before which no client is replaced.
    rest_until: Option<Instant>,
    /// The last error.
    why: String,
}

impl State {
    /// Returns the time since the last answer; zero between two clients, while the owner needs none.
    fn silent_for(&self, now: Instant) -> Duration {
        let is_needed = self.client.as_ref().is_some_and(|client| client.strong_count() > 0);
        self.heard.filter(|_| is_needed).map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard))
    }

    fn heard(&mut self, now: Instant) {
        (self.heard, self.heard_since_look, self.probes, self.errors) = (Some(now), true, 0, 0);
        self.failing_since = None;
        // not earlier: others of its partitions may be heard while one of them never is
        if self.rest_until.is_some_and(|rest| rest + LONGEST <= now) {
            (self.replaced, self.rest_until) = (0, None);
        }
    }

    /// Returns true if the failures so far make the client deaf, and begins a pause.
    fn is_deaf(&mut self, now: Instant) -> bool {
        let is_failing = self.failing_since.is_some_and(|since| since + PATIENCE <= now);
        let failed = self.probes >= PROBES || self.errors >= ERRORS && is_failing;
        if !failed || self.rest_until.is_some_and(|rest| rest > now) {
            return false;
        }
        let pause = SHORTEST.saturating_mul(1 << self.replaced.min(8)).min(LONGEST);
        (self.probes, self.errors, self.failing_since, self.rest_until) = (0, 0, None, Some(now + pause));
        self.replaced += 1;
        true
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
        state.heard(Instant::now());
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
            self.measure(state.silent_for(Instant::now()));
        }
        state.probes > 0
    }

    /// Notes the answer to a probe. Errors still count: metadata may be all that the client hears of.
    fn answered(&self) {
        let mut state = self.state.lock();
        (state.heard, state.probes) = (Some(Instant::now()), 0);
    }

    /// Counts a failure, and gives up a client that failed too often. Failures of a client that is replaced already do not
    /// count.
    fn failed(&self, client: &dyn Probe, why: &BusError, count: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        if !state.client.as_ref().is_some_and(|newest| ptr::addr_eq(newest.as_ptr(), client)) {
            return;
        }
        count(&mut state);
        let now = Instant::now();
        state.failing_since.get_or_insert(now);
        let (BusError::Unavailable(reason) | BusError::Refused(reason)) = why;
        state.why = one_line(reason.strip_prefix("kafka: ").unwrap_or(reason));
        if !state.is_deaf(now) {
            return;
        }
        metrics::KAFKA_CLIENTS_REPLACED.of([self.name.clone().into()]).increment(1);
        let (silent_seconds, why) = (state.silent_for(now).as_secs(), &state.why);
        tracing::warn!(client = self.name, silent_seconds, why, "deaf Kafka client is replaced");
        client.give_up();
        state.client = None;
    }

    fn line(&self) -> Option<String> {
        let state = self.state.lock();
        let silent = state.silent_for(Instant::now());
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
        self.0.health.failed(&*self.0, why, |state| state.probes = PROBES);
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
        let metadata =
            client.inner().fetch_metadata(topic, PATIENCE).map_err(|error| crate::connection::away(&error))?;
        crate::connection::names_brokers(&metadata)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Answers as told, and counts.
    #[derive(Default)]
    struct Client {
        answers: AtomicBool,
        asked: AtomicU32,
        given_up: AtomicU32,
    }

    impl Probe for Client {
        fn ask(&self, _: Option<&str>) -> Result<(), BusError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.answers.load(Ordering::Relaxed).then_some(()).ok_or_else(away)
        }

        fn give_up(&self) {
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Client {
        fn counts(&self) -> (u32, u32) {
            (self.asked.load(Ordering::Relaxed), self.given_up.load(Ordering::Relaxed))
        }
    }

    fn away() -> BusError {
        BusError::Unavailable("away".into())
    }

    fn place() -> (Clients, Arc<Health>, Arc<Client>) {
        let (clients, client) = (Clients::default(), Arc::new(Client::default()));
        let health = clients.place("group readers".into());
        let probed: Weak<Client> = Arc::downgrade(&client);
        health.begin(probed);
        (clients, health, client)
    }

    #[tokio::test]
    async fn a_client_is_deaf_after_two_probes_without_an_answer() {
        let (clients, _health, client) = place();
        assert!(!clients.look(true).await, "a new client is not probed at once");
        assert!(clients.look(true).await);
        client.answers.store(true, Ordering::Relaxed);
        assert!(!clients.look(true).await);
        assert_eq!(client.counts(), (2, 0));
        client.answers.store(false, Ordering::Relaxed);
        clients.look(true).await;
        clients.look(true).await;
        assert_eq!(client.counts(), (4, 1));
    }

    #[tokio::test]
    async fn failures_of_a_replaced_client_do_not_count() {
        let (_clients, health, client) = place();
        for _ in 0..ERRORS {
            health.failed(&Client::default(), &away(), |state| state.errors += 1);
        }
        health.failed(&*client, &away(), |state| state.errors += 1);
        assert_eq!(client.counts(), (0, 0));
    }

    #[tokio::test]
    async fn nothing_is_probed_while_kafka_is_away() {
        let (clients, _health, client) = place();
        for _ in 0..3 {
            assert!(!clients.look(false).await);
        }
        assert_eq!(client.counts(), (0, 0));
    }

    #[test]
    fn silence_is_told_until_something_is_heard_or_nobody_waits() {
        let (clients, health, _client) = place();
        let begin = || health.state.lock().heard = Instant::now().checked_sub(SILENT);
        begin();
        assert_eq!(clients.silent(), ["group readers hears nothing for 15 s"]);
        health.heard(None);
        assert!(clients.silent().is_empty());
        begin();
        health.idle();
        assert!(clients.silent().is_empty());
    }

    #[test]
    fn between_two_replacements_is_a_pause_that_doubles_until_a_client_lasts() {
        let begun = Instant::now();
        let (mut state, mut now) = (State::default(), begun);
        let mut fail = |state: &mut State, seconds: u32| {
            let deaf = (0..seconds).filter(|_| {
                now += Duration::from_secs(1);
                state.errors += 1;
                state.failing_since.get_or_insert(now);
                state.is_deaf(now)
            });
            deaf.count()
        };
        assert_eq!(
            [5, 1].map(|seconds| fail(&mut state, seconds)),
            [0, 1],
            "errors of a moment are none of the client"
        );
        assert_eq!([5, 1].map(|seconds| fail(&mut state, seconds)), [0, 1]);
        state.heard(begun);
        assert_eq!([9, 1].map(|seconds| fail(&mut state, seconds)), [0, 1]);
        assert_eq!([19, 1].map(|seconds| fail(&mut state, seconds)), [0, 1]);
        assert_eq!(fail(&mut state, 40 + 600), 11, "once a minute in the end");
        state.heard(begun + Duration::from_secs(3600));
        assert_eq!([5, 1, 5, 1].map(|seconds| fail(&mut state, seconds)), [0, 1, 0, 1]);
    }
}
