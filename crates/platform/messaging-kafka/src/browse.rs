//! Looks at a partition without being of any group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use messaging::{BusError, Event};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::codec;
use crate::connection::{Heard, Kafka};

const PATIENCE: Duration = Duration::from_secs(20);

impl Kafka {
    /// Returns all events in a partition, of any log, with repeats. For tests and checks.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]
    pub async fn records(&self, topic: &str, partition: i32) -> Result<Vec<Event>, BusError> {
        let topic: Arc<str> = topic.into();
        self.blocking(move |kafka| kafka.read_all(&topic, partition)).await
    }

    fn read_all(&self, topic: &Arc<str>, partition: i32) -> Result<Vec<Event>, BusError> {
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
        let mut records = Vec::new();
        if low >= high {
            return Ok(records);
        }
        let mut begin = TopicPartitionList::new();
        begin.add_partition_offset(&name, partition, Offset::Offset(low)).map_err(explain)?;
        consumer.assign(&begin).map_err(explain)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = record.map_err(explain)?;
            if record.offset() < high {
                records.extend(codec::decode(&record, topic));
            }
            if record.offset() + 1 >= high {
                return Ok(records);
            }
        }
        Err(BusError::Unavailable(format!("kafka: the end of {name}/{partition} was not read in time")))
    }
}
