//! Choice of an event's topic, and creation of topics: for new services and types, or by hand.

pub(crate) mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use db::types::Time;
use db::{Database, Tx};
use messaging::{BusError, Log, TopicSpec, begin_relaying};
use messaging_kafka::{Cluster, SeeToTopics, TopicOptions};
use parking_lot::RwLock;
use rest::{Problem, kinds as common};
use telemetry::metrics;
use tokio::sync::Mutex;

use crate::delivery::Delivery;
use crate::http::problems;
use crate::settings::TopicSettings;
use crate::topics::rows::{NewTopic, TopicRow};

/// Time in which a broker may not know a new topic yet.
const HEARD_OF: Duration = Duration::from_secs(30);
/// Maximum length of a topic's name on Kafka.
const MAX_LENGTH: usize = 249;

/// State of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TopicState {
    /// The topic takes events, and exists on Kafka.
    Active,
    /// The topic takes events; the events wait until the topic exists on Kafka.
    Creating,
    /// The topic takes events, and the events wait: the topic was deleted on Kafka, and is created again only by
    /// hand.
    Missing,
    /// It takes no events until Kafka, which refuses to make it, has it.
    Refused,
    /// The topic takes no events until created again by hand.
    Deleted,
}

/// All topics.
pub(crate) struct Topics {
    /// Database of the log.
    db: Database,
    /// Database shared by proxies.
    control: Database,
    log: Log,
    settings: TopicSettings,
    delivery: Arc<Delivery>,
    /// Rows of the control database.
    rows: RwLock<HashMap<String, TopicRow>>,
    /// Topics created on Kafka and no longer there.
    missing: RwLock<HashSet<String>>,
    /// Those that Kafka refuses to make, each with the reason.
    refused: RwLock<BTreeMap<String, String>>,
    /// Services whose events have a topic, as far as this process took any; there are at most as many as topics.
    services: RwLock<HashSet<String>>,
    /// Lock for one creation at a time.
    making: Mutex<()>,
    /// Lock for one read at a time, so that an older read never overwrites a newer one.
    reading: Mutex<()>,
}

impl Topics {
    /// Opens the topics of the control database, and the topics of the open log.
    ///
    /// # Errors
    /// The control database's.
    pub(crate) async fn open(
        db: &Database,
        control: &Database,
        log: &Log,
        settings: &TopicSettings,
        delivery: Arc<Delivery>,
    ) -> db::Result<Self> {
        let (db, control, log, settings) = (db.clone(), control.clone(), log.clone(), settings.clone());
        let (rows, missing, refused, services, making, reading) = Default::default();
        let topics = Self { db, control, log, settings, delivery, rows, missing, refused, services, making, reading };
        topics.refresh().await?;
        let rows = topics.rows();
        for name in topics.log.topics().into_iter().filter(|name| !rows.contains_key(&**name)) {
            // events are in these partitions already
            let partitions = topics.log.partitions(&name);
            topics.insert(NewTopic { partitions, ..topics.new_topic(&name) }).await?;
        }
        topics.refresh().await?;
        Ok(topics)
    }

    /// Reads changes by other proxies.
    ///
    /// # Errors
    /// Any error of the database.
    pub(crate) async fn refresh(&self) -> db::Result<()> {
        let _turn = self.reading.lock().await;
        let all = self.control.read(rows::all).await?;
        let all = all.into_iter().map(|row| (row.name.clone(), row)).collect();
        *self.rows.write() = all;
        Ok(())
    }

    /// Returns all topics, by name.
    pub(crate) fn rows(&self) -> HashMap<String, TopicRow> {
        self.rows.read().clone()
    }

    /// Returns the state of a topic.
    pub(crate) fn state(&self, row: &TopicRow) -> TopicState {
        let is_missing = || self.missing.read().contains(&row.name);
        match (row.deleted_at, row.made_at) {
            (Some(_), _) => TopicState::Deleted,
            (None, None) if self.refused.read().contains_key(&row.name) => TopicState::Refused,
            (None, None) if self.delivery.is_there() => TopicState::Creating,
            _ if is_missing() => TopicState::Missing,
            _ => TopicState::Active,
        }
    }

    /// Returns the names of topics deleted on Kafka that still take events.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing: Vec<_> = self.missing.read().iter().cloned().collect();
        missing.sort_unstable();
        missing
    }

    /// Topics that Kafka refuses to make, each with the reason.
    pub(crate) fn refused(&self) -> BTreeMap<String, String> {
        self.refused.read().clone()
    }

    /// Returns the names of topics with events waiting for an action.
    pub(crate) fn at_rest(&self) -> HashSet<String> {
        let rows = self.rows.read();
        let deleted = rows.values().filter(|row| row.deleted_at.is_some()).map(|row| row.name.clone());
        deleted.chain(self.missing()).chain(self.refused().into_keys()).collect()
    }

    /// Returns the topic of a service and a type.
    pub(crate) fn name(&self, service: &str, kind: &str) -> String {
        self.settings.template.replace("{service}", service).replace("{type}", kind)
    }

    /// Returns the topic of a service and a type, created if necessary.
    ///
    /// # Errors
    /// `unknown-topic` if topics are not created automatically, `too-many-topics`, and errors of the database.
    pub(crate) async fn ensure(&self, service: &str, kind: &str) -> Result<String, Problem> {
        let topic = self.find_or_make(service, kind).await?;
        if !self.services.read().contains(service) {
            self.services.write().insert(service.to_owned());
        }
        Ok(topic)
    }

    /// Counts a refused event. A service without a topic counts as `other`, so that clients can't create labels.
    pub(crate) fn count_refused(&self, service: Option<&str>, problem: &Problem) {
        let known = service.filter(|service| self.services.read().contains(*service));
        let labels = [known.unwrap_or("other").to_owned().into(), problem.kind().code.into()];
        metrics::EVENT_PROXY_REFUSED_EVENTS.of(labels).increment(1);
    }

    async fn find_or_make(&self, service: &str, kind: &str) -> Result<String, Problem> {
        let topic = self.name(service, kind);
        if self.takes_events(&topic)? {
            return Ok(topic);
        }
        if !self.settings.allows(service, kind) {
            return Err(unknown(format_args!("{service} may not post {kind} here")));
        }
        if !self.is_known(&topic) {
            self.check_more(service, &topic)?;
        }
        let _turn = self.making.lock().await;
        if self.takes_events(&topic)? {
            return Ok(topic);
        }
        // another proxy may have made it, or more of them
        self.refresh().await?;
        if !self.is_known(&topic) {
            self.check_more(service, &topic)?;
            self.insert(self.new_topic(&topic)).await?;
            self.refresh().await?;
        }
        self.takes_events_once_made(topic).await
    }

    /// Creates a topic by hand; a deleted or missing topic comes back.
    ///
    /// # Errors
    /// `invalid-request` for a name that Kafka cannot have, and the database's.
    pub(crate) async fn make(&self, topic: NewTopic) -> Result<TopicRow, Problem> {
        let _turn = self.making.lock().await;
        let name = topic.name.clone();
        self.check_name(&name, "name")?;
        self.control.write(move |tx| rows::renew(tx, &topic)).await?;
        self.missing.write().remove(&name);
        self.refused.write().remove(&name);
        self.refresh().await?;
        self.takes_events_once_made(name.clone()).await?;
        self.rows().remove(&name).ok_or_else(|| Problem::internal("a topic that was made is gone"))
    }

    /// Deletes a topic, on Kafka too.
    ///
    /// # Errors
    /// `unavailable` while Kafka is away, and the database's.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Problem> {
        let _turn = self.making.lock().await;
        let topic = name.to_owned();
        self.control.write(move |tx| rows::set_deleted(tx, &topic)).await?;
        self.refresh().await?;
        // one that Kafka refused was never there
        let is_refused = self.refused.write().remove(name).is_some();
        if let Some(cluster) = self.delivery.cluster().filter(|_| !is_refused) {
            let deleted = cluster.kafka().delete_topic(name).await;
            deleted.map_err(|error| rest::problem::unavailable(&error.to_string()))?;
        }
        tracing::info!(topic = name, "a topic was deleted");
        Ok(())
    }

    /// Returns a new topic by the rules.
    pub(crate) fn new_topic(&self, name: &str) -> NewTopic {
        let rule = self.settings.rule(name);
        NewTopic {
            name: name.to_owned(),
            partitions: rule.and_then(|rule| rule.partitions).unwrap_or(self.settings.partitions).get() as i32,
            replication: rule.and_then(|rule| rule.replication).map(|copies| copies.get().into()),
            retention: rule.and_then(|rule| rule.retention).map(|retention| retention.as_millis() as i64),
        }
    }

    fn note_refused(&self, refused: BTreeMap<String, String>) {
        let mut before = self.refused.write();
        for (topic, reason) in refused.iter().filter(|(topic, _)| !before.contains_key(*topic)) {
            tracing::error!(topic, reason, "Kafka refuses the topic; its events wait, and no more are taken");
        }
        *before = refused;
    }

    fn note_missing(&self, gone: HashSet<String>) {
        let mut missing = self.missing.write();
        for topic in gone.difference(&missing) {
            tracing::error!(topic, "the topic was deleted on Kafka; its events wait until it is made again by hand");
        }
        *missing = gone;
    }

    /// Returns true if the topic takes events; false if the topic has to be created.
    fn takes_events(&self, topic: &str) -> Result<bool, Problem> {
        let rows = self.rows.read();
        match rows.get(topic) {
            Some(row) if row.deleted_at.is_some() => Err(unknown(format_args!("the topic {topic} was deleted"))),
            Some(_) if let Some(reason) = self.refused.read().get(topic) => {
                Err(Problem::new(&problems::TOPIC_REFUSED).detail(reason))
            }
            Some(_) => Ok(self.log.partitions(topic) > 0),
            None if self.settings.auto_create => Ok(false),
            None => Err(unknown(format_args!("there is no topic {topic}"))),
        }
    }

    /// Opens the log for events of a topic in the control database.
    async fn takes_events_once_made(&self, topic: String) -> Result<String, Problem> {
        if self.takes_events(&topic)? {
            self.delivery.more.notify_one();
            return Ok(topic);
        }
        let partitions = self.rows().get(&topic).map_or(1, |row| row.partitions);
        let spec = TopicSpec { name: topic.clone().into(), partitions };
        let (log, name, on_kafka) = (self.log.clone(), topic.clone(), self.delivery.is_there());
        let relay = move |tx: &mut Tx<'_>| if on_kafka { begin_relaying(tx, &log, &[&name]) } else { Ok(()) };
        self.log.add(&self.db, &[spec], relay).await?;
        self.delivery.more.notify_one();
        self.log.ask_groups();
        tracing::info!(topic, partitions, "a topic was made");
        Ok(topic)
    }

    fn is_known(&self, topic: &str) -> bool {
        self.rows.read().contains_key(topic)
    }

    fn check_more(&self, service: &str, topic: &str) -> Result<(), Problem> {
        if !self.settings.auto_create {
            return Err(unknown(format_args!("there is no topic {topic}")));
        }
        self.check_name(topic, "type")?;
        let too_many = |detail: String| Err(Problem::new(&problems::TOO_MANY_TOPICS).detail(detail));
        let rows = self.rows.read();
        let (all, own) = rows
            .values()
            .filter(|row| row.deleted_at.is_none())
            .fold((0, 0), |(all, own), row| (all + 1, own + usize::from(self.settings.is_of(service, &row.name))));
        match () {
            () if all >= self.settings.max.get() as usize => too_many(format!("there are {all} topics")),
            () if own >= self.settings.share() => too_many(format!("the service {service} has {own} topics")),
            () => Ok(()),
        }
    }

    /// Checks that Kafka can have a topic beside those that are known: a dot is the same to it as `_`.
    fn check_name(&self, topic: &str, field: &str) -> Result<(), Problem> {
        let wrong = |detail: String| Err(Problem::new(&common::INVALID_REQUEST).field(field, detail));
        let name = self.delivery.cluster().map_or_else(|| topic.to_owned(), |cluster| cluster.kafka().named(topic));
        if name.len() > MAX_LENGTH {
            return wrong(format!("the topic {name} has {} letters, and Kafka takes {MAX_LENGTH}", name.len()));
        }
        let alike = |name: &str| name.replace('.', "_");
        let rows = self.rows.read();
        let others = rows.values().filter(|row| row.deleted_at.is_none() && row.name != topic);
        match others.map(|row| &row.name).find(|other| alike(other) == alike(topic)) {
            Some(other) => wrong(format!("Kafka cannot have the topic {topic} beside {other}, of the same letters")),
            None => Ok(()),
        }
    }

    async fn insert(&self, topic: NewTopic) -> db::Result<()> {
        self.control.write(move |tx| rows::insert(tx, &topic)).await
    }
}

#[async_trait]
impl SeeToTopics for Topics {
    /// Creates new topics on Kafka, and notes missing topics.
    async fn see_to(&self, cluster: &Cluster) -> Result<(), String> {
        let there = cluster.kafka().topics().await.map_err(|error| error.to_string())?;
        let rows: Vec<_> = self.rows().into_values().filter(|row| row.deleted_at.is_none()).collect();
        let (made, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.made_at.is_some());
        let long_ago = Time::now() - HEARD_OF;
        let (there, gone): (Vec<_>, Vec<_>) = made.into_iter().partition(|row| there.contains(&row.name));
        let gone = gone.into_iter().filter(|row| row.made_at < Some(long_ago));
        self.note_missing(gone.map(|row| row.name).collect());
        self.compare(cluster, there).await?;
        let mut refused = BTreeMap::new();
        for row in new {
            // one that can't be made keeps no other from it, nor is Kafka away for it
            match self.make_on_kafka(cluster, &row).await {
                Ok(()) => {}
                Err(BusError::Refused(why)) => drop(refused.insert(row.name, why)),
                Err(BusError::Unavailable(why)) => {
                    tracing::warn!(topic = row.name, why, "the topic is not on Kafka yet; its events wait");
                    let before = self.refused.read().get(&row.name).cloned();
                    refused.extend(before.map(|why| (row.name, why)));
                }
            }
        }
        self.note_refused(refused);
        self.refresh().await.or_else(|error| {
            tracing::warn!(%error, "what other proxies changed is not known");
            Ok(())
        })
    }
}

impl Topics {
    /// Notes how topics on Kafka differ from the way in which they are made.
    async fn compare(&self, cluster: &Cluster, rows: Vec<TopicRow>) -> Result<(), String> {
        let mut alike = HashMap::<_, Vec<_>>::new();
        for row in rows {
            alike.entry((row.replication, row.retention())).or_default().push(row);
        }
        let mut differences = Vec::new();
        for rows in alike.into_values() {
            let topics: Vec<_> = rows.iter().map(|row| (row.name.clone(), row.partitions)).collect();
            let compared = cluster.kafka().compare_topics(&topics, &options(cluster, &rows[0])).await;
            differences.extend(compared.map_err(|error| error.to_string())?);
        }
        cluster.note_differences(differences);
        Ok(())
    }

    async fn make_on_kafka(&self, cluster: &Cluster, row: &TopicRow) -> Result<(), BusError> {
        let (topic, options) = ([(row.name.clone(), row.partitions)], options(cluster, row));
        cluster.kafka().ensure_topics(&topic, &options).await?;
        let name = row.name.clone();
        Ok(self.control.write(move |tx| rows::set_made(tx, &name)).await?)
    }
}

/// How the topic is made on Kafka.
fn options(cluster: &Cluster, row: &TopicRow) -> TopicOptions {
    TopicOptions {
        replication: row.replication.map(|copies| copies as i16).or(cluster.topic_options().replication),
        retention: row.retention().or(cluster.topic_options().retention),
        ..cluster.topic_options().clone()
    }
}

fn unknown(detail: std::fmt::Arguments<'_>) -> Problem {
    Problem::new(&problems::UNKNOWN_TOPIC).detail(detail)
}
