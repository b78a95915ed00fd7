//! Creation of topics, and comparison with the settings.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use messaging::BusError;
use rdkafka::admin::AlterConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::connection::{Heard, Kafka, away};

const PATIENCE: Duration = Duration::from_secs(10);
/// Interval of checks for a change that a broker does not know yet.
const HEARING: Duration = Duration::from_millis(20);
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const RETENTION_MS: &str = "retention.ms";

/// Settings of every topic, whatever the brokers' defaults are. Only age deletes records, and the age counts from the time
/// at which a broker stored the record: the clocks of those who emit and relay events do no harm.
const ALWAYS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("message.timestamp.type", "LogAppendTime"),
    (MAX_MESSAGE_BYTES, "1048588"), // the usual default; a topic may take more
];

/// Options of new topics; `None` means the brokers' default.
#[derive(Debug, Clone, Default)]
pub struct TopicOptions {
    /// Copies of each record.
    pub replication: Option<i16>,
    /// Number of in-sync replicas that must have a record before Kafka acknowledges it.
    pub min_insync_replicas: Option<u16>,
    /// Retention of records.
    pub retention: Option<Duration>,
}

/// A difference between a topic and the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub topic: String,
    pub what: &'static str,
    pub wanted: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, what, wanted, found } = self;
        write!(f, "the topic {topic} has {what} {found}, and should have {wanted}")
    }
}

impl Kafka {
    /// Creates missing topics (name, partitions), adds missing partitions, and returns the differences between
    /// existing topics and `options`. Changes nothing else on an existing topic.
    ///
    /// Brokers learn of new topics and partitions some time after the controller: the answer waits for the brokers,
    /// for 10 s at most.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; what was made stays. [`BusError::Refused`] for a topic that Kafka refuses as it is.
    pub async fn ensure_topics(
        &self,
        topics: &[(String, i32)],
        options: &TopicOptions,
    ) -> Result<Vec<Difference>, BusError> {
        let topics: Vec<_> = topics.iter().map(|(name, partitions)| (self.named(name), *partitions)).collect();
        self.check().await?; // in seconds and with a reason, where an admin request only times out
        let admin: AdminClient<Heard> = self.client(&[])?;
        let there = self.there().await?;
        let (old, new): (Vec<_>, Vec<_>) = topics.into_iter().partition(|(name, _)| there.contains_key(name));
        make(&admin, &new, options).await?;
        let raised = raise(&admin, old.iter().filter(|wanted| is_small(&there, wanted))).await?;
        let changed: Vec<_> = new.iter().chain(old.iter().filter(|(name, _)| raised.contains(name))).collect();
        let there = if changed.is_empty() { there } else { self.there_with(&changed).await? };
        self.differences(old, &there, options).await
    }

    /// Returns the topics as soon as a broker knows the changed ones, or after [`PATIENCE`].
    async fn there_with(&self, changed: &[&(String, i32)]) -> Result<HashMap<String, Found>, BusError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let there = self.there().await?;
            if Instant::now() > end || !changed.iter().any(|wanted| is_small(&there, wanted)) {
                return Ok(there);
            }
            tokio::time::sleep(HEARING).await;
        }
    }

    /// Returns the differences between topics (name, partitions) and the options, including missing topics.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn compare_topics(
        &self,
        topics: &[(String, i32)],
        options: &TopicOptions,
    ) -> Result<Vec<Difference>, BusError> {
        self.check().await?;
        let topics = topics.iter().map(|(name, partitions)| (self.named(name), *partitions)).collect();
        self.differences(topics, &self.there().await?, options).await
    }

    async fn differences(
        &self,
        topics: Vec<(String, i32)>,
        there: &HashMap<String, Found>,
        options: &TopicOptions,
    ) -> Result<Vec<Difference>, BusError> {
        let (found, missing): (Vec<_>, Vec<_>) = topics.into_iter().partition(|(name, _)| there.contains_key(name));
        let mut differences: Vec<_> = missing
            .into_iter()
            .map(|(topic, partitions)| Difference {
                topic,
                what: "partitions",
                wanted: partitions.to_string(),
                found: "0".into(),
            })
            .collect();
        if found.is_empty() {
            return Ok(differences);
        }
        let admin: AdminClient<Heard> = self.client(&[])?;
        let resources: Vec<_> = found.iter().map(|(name, _)| ResourceSpecifier::Topic(name)).collect();
        let described = admin.describe_configs(&resources, &within()).await.map_err(|error| away(&error))?;
        let settings = options.settings();
        for ((topic, partitions), described) in found.iter().zip(described) {
            let mut compare = |what, wanted: &str, found: &str| {
                // a broker that has only heard of the topic knows nothing of its settings yet
                let suffices = what == MAX_MESSAGE_BYTES && found.parse::<u64>().ok() >= wanted.parse().ok();
                if wanted != found && !found.is_empty() && !suffices {
                    let (topic, wanted, found) = (topic.clone(), wanted.to_owned(), found.to_owned());
                    differences.push(Difference { topic, what, wanted, found });
                }
            };
            if let Some(found) = there.get(topic) {
                compare("partitions", &partitions.to_string(), &found.partitions.to_string());
                if let Some(wanted) = options.replication {
                    compare("replication", &wanted.to_string(), &found.replication.to_string());
                }
            }
            let described = described.map_err(|code| BusError::Unavailable(format!("kafka: {topic}: {code}")))?;
            for (name, wanted) in &settings {
                let found = described.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
                compare(name, wanted, found);
            }
        }
        Ok(differences)
    }

    /// Returns the names of all existing topics.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn topics(&self) -> Result<HashSet<String>, BusError> {
        self.check().await?;
        let prefix = self.named("");
        let ours = |name: String| name.strip_prefix(&*prefix).map(str::to_owned);
        Ok(self.there().await?.into_keys().filter_map(ours).collect())
    }

    /// Deletes a topic with all records; a missing topic counts as deleted.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn delete_topic(&self, topic: &str) -> Result<(), BusError> {
        self.check().await?;
        let (admin, name): (AdminClient<Heard>, _) = (self.client(&[])?, self.named(topic));
        for deleted in admin.delete_topics(&[&name], &within()).await.map_err(|error| away(&error))? {
            match deleted {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((name, code)) => {
                    return Err(BusError::Unavailable(format!("kafka: the topic {name} was not deleted: {code}")));
                }
            }
        }
        Ok(())
    }

    /// Size in bytes over which the brokers refuse a batch of records of the topic.
    pub(crate) async fn largest_batch(&self, topic: &str) -> Result<usize, BusError> {
        let (admin, name): (AdminClient<Heard>, _) = (self.client(&[])?, self.named(topic));
        let described = admin.describe_configs([&ResourceSpecifier::Topic(&name)], &within()).await;
        let described = described.map_err(|error| away(&error))?.pop();
        let limit = described.and_then(Result::ok).and_then(|topic| topic.get(MAX_MESSAGE_BYTES)?.value.clone());
        let limit = limit.and_then(|limit| limit.parse().ok());
        limit.ok_or_else(|| BusError::Unavailable(format!("kafka: {name}: {MAX_MESSAGE_BYTES} is not known")))
    }

    /// Deletes all records of a topic, as retention does. For tests.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn delete_records(&self, topic: &str) -> Result<(), BusError> {
        let (admin, name): (AdminClient<Heard>, _) = (self.client(&[])?, self.named(topic));
        let partitions = self.there().await?.get(&name).map_or(0, |found| found.partitions);
        let mut ends = TopicPartitionList::new();
        for partition in 0..partitions {
            ends.add_partition_offset(&name, partition as i32, Offset::End).map_err(|error| away(&error))?;
        }
        admin.delete_records(&ends, &within()).await.map(drop).map_err(|error| away(&error))
    }

    /// Sets the maximum record size of a topic in bytes. For tests.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn limit_messages(&self, topic: &str, bytes: u32) -> Result<(), BusError> {
        self.set_topic(topic, &[(MAX_MESSAGE_BYTES, &bytes.to_string())]).await
    }

    /// Sets properties of a topic, as an operator does; the others fall back to the brokers' defaults. For tests.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn set_topic(&self, topic: &str, properties: &[(&str, &str)]) -> Result<(), BusError> {
        let admin: AdminClient<Heard> = self.client(&[])?;
        let name = self.named(topic);
        let change = AlterConfig::new(ResourceSpecifier::Topic(&name));
        let change = properties.iter().fold(change, |change, (name, value)| change.set(name, value));
        let altered = admin.alter_configs([&change], &AdminOptions::new()).await.map_err(|error| away(&error))?;
        altered.into_iter().try_for_each(|altered| {
            altered.map(drop).map_err(|(_, code)| BusError::Unavailable(format!("kafka: {name}: {code}")))
        })?;
        // brokers hear of it some time after the controller
        let (resource, end) = (ResourceSpecifier::Topic(&name), Instant::now() + PATIENCE);
        loop {
            let described = admin.describe_configs([&resource], &within()).await.map_err(|error| away(&error))?.pop();
            let described = described.and_then(Result::ok);
            let has = |(name, value): &(&str, &str)| {
                described
                    .as_ref()
                    .is_some_and(|topic| topic.get(name).is_some_and(|it| it.value.as_deref() == Some(value)))
            };
            if properties.iter().all(has) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(BusError::Unavailable(format!("kafka: {name}: the brokers do not hear of the change")));
            }
            tokio::time::sleep(HEARING).await;
        }
    }

    async fn there(&self) -> Result<HashMap<String, Found>, BusError> {
        self.blocking(|kafka| {
            let consumer: BaseConsumer<Heard> = kafka.client(&[])?;
            let metadata =
                consumer.fetch_metadata(None, PATIENCE).map_err(|error| consumer.context().explain(&error))?;
            let found = metadata.topics().iter().map(|topic| {
                let replication = topic.partitions().first().map_or(0, |partition| partition.replicas().len());
                (topic.name().to_owned(), Found { partitions: topic.partitions().len(), replication })
            });
            Ok(found.collect())
        })
        .await
    }
}

async fn make(admin: &AdminClient<Heard>, topics: &[(String, i32)], options: &TopicOptions) -> Result<(), BusError> {
    let settings = options.settings();
    let missing: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|(name, partitions)| {
            let replication = TopicReplication::Fixed(options.replication.map_or(-1, i32::from));
            let topic = NewTopic::new(name, *partitions, replication);
            settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for made in admin.create_topics(&missing, &within()).await.map_err(|error| away(&error))? {
        match made {
            Ok(name) => tracing::info!(topic = name, "the topic was made on Kafka"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {} // somebody else was quicker
            Err((name, code)) => {
                let why = format!("kafka: the topic {name} was not made: {code}");
                return Err(if is_for_good(code) { BusError::Refused(why) } else { BusError::Unavailable(why) });
            }
        }
    }
    Ok(())
}

/// Returns true if a topic is refused until somebody changes it, or the rules of the cluster.
fn is_for_good(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, InvalidConfig, InvalidPartitions, InvalidTopic, PolicyViolation,
        TopicAuthorizationFailed,
    };
    matches!(
        code,
        InvalidTopic
            | TopicAuthorizationFailed
            | ClusterAuthorizationFailed
            | PolicyViolation
            | InvalidPartitions
            | InvalidConfig
    )
}

/// Adds partitions, and returns the changed topics.
async fn raise(
    admin: &AdminClient<Heard>,
    topics: impl Iterator<Item = &(String, i32)>,
) -> Result<Vec<String>, BusError> {
    let small: Vec<_> = topics.map(|(name, partitions)| NewPartitions::new(name, *partitions as usize)).collect();
    if small.is_empty() {
        return Ok(Vec::new());
    }
    let mut done = Vec::new();
    for raised in admin.create_partitions(&small, &within()).await.map_err(|error| away(&error))? {
        match raised {
            Ok(name) => {
                tracing::info!(topic = name, "the topic has more partitions on Kafka");
                done.push(name);
            }
            // another process was faster
            Err((name, RDKafkaErrorCode::InvalidPartitions)) => done.push(name),
            // the others work as before
            Err((name, code)) => tracing::warn!(topic = name, %code, "the topic did not get more partitions on Kafka"),
        }
    }
    Ok(done)
}

fn within() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

struct Found {
    partitions: usize,
    replication: usize,
}

fn is_small(there: &HashMap<String, Found>, (name, partitions): &(String, i32)) -> bool {
    there.get(name).is_none_or(|found| found.partitions < *partitions as usize)
}

impl TopicOptions {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let min = self.min_insync_replicas.map(|min| (MIN_INSYNC_REPLICAS, min.to_string()));
        let retention = self.retention.map(|retention| (RETENTION_MS, retention.as_millis().to_string()));
        ALWAYS.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(min).chain(retention).collect()
    }
}
