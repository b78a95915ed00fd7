//! Looks at a partition without being of any group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db::types::Time;
use messaging::{BusError, Event};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::client::{Heard, Kafka};
use crate::codec;

const PATIENCE: Duration = Duration::from_secs(20);

/// Offset of a record, and the event of the record, if any.
type Peeked = (i64, Option<Event>);

impl Kafka {
    /// Returns all events in a partition, of any log, with repeats. For tests and checks.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn records(&self, topic: &str, partition: i32) -> Result<Vec<Event>, BusError> {
        self.newest(topic, partition, i64::MAX).await
    }

    /// Returns the events among the newest `count` records of a partition.
    pub(crate) async fn newest(&self, topic: &str, partition: i32, count: i64) -> Result<Vec<Event>, BusError> {
        let records = self.newest_before(topic, partition, None, count).await?;
        Ok(records.into_iter().filter_map(|(_, event)| event).collect())
    }

    /// Returns the newest `count` records of a partition older than `before`, in order.
    pub(crate) async fn newest_before(
        &self,
        topic: &str,
        partition: i32,
        before: Option<Time>,
        count: i64,
    ) -> Result<Vec<Peeked>, BusError> {
        let topic: Arc<str> = topic.into();
        self.blocking(move |kafka| kafka.read_newest(&topic, partition, before, count)).await
    }

    fn read_newest(
        &self,
        topic: &Arc<str>,
        partition: i32,
        before: Option<Time>,
        count: i64,
    ) -> Result<Vec<Peeked>, BusError> {
        let name = self.named(topic);
        let group = self.named("peek"); // a consumer must name one; nothing is committed
        let ours = [
            ("group.id", group.as_str()),
            ("enable.auto.commit", "false"),
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", "4096"),
        ];
        let consumer: BaseConsumer<Heard> = self.client(&ours)?;
        let explain = |error: KafkaError| consumer.context().explain(&error);
        let (low, high) = consumer.fetch_watermarks(&name, partition, PATIENCE).map_err(explain)?;
        let high = match before {
            Some(before) => first_at(&consumer, &name, partition, before).map_err(explain)?.unwrap_or(high),
            None => high,
        };
        let mut records = Vec::new();
        let from = low.max(high.saturating_sub(count));
        if from >= high {
            return Ok(records);
        }
        let mut begin = TopicPartitionList::new();
        begin.add_partition_offset(&name, partition, Offset::Offset(from)).map_err(explain)?;
        consumer.assign(&begin).map_err(explain)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = record.map_err(explain)?;
            if record.offset() < high {
                records.push((record.offset(), codec::decode(&record, topic).ok()));
            }
            if record.offset() + 1 >= high {
                return Ok(records);
            }
        }
        Err(BusError::Unavailable(format!("kafka: the end of {name}/{partition} was not read in time")))
    }
}

/// Returns the offset of the first record of this time or later; `None` if all records are older.
fn first_at(consumer: &BaseConsumer<Heard>, name: &str, partition: i32, time: Time) -> Result<Option<i64>, KafkaError> {
    let mut at = TopicPartitionList::new();
    at.add_partition_offset(name, partition, Offset::Offset(time.micros() / 1000))?;
    let found = consumer.offsets_for_times(at, PATIENCE)?;
    Ok(found.find_partition(name, partition).and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}
