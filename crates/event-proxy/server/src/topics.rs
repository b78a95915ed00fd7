//! Which topic an event goes to, and topics that are made for new services and types.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use db::{Database, Tx};
use messaging::{Log, TopicSpec, begin_relaying};
use rest::Problem;
use tokio::sync::Mutex;

use crate::delivery::Delivery;
use crate::http::kinds;
use crate::settings::TopicSettings;

/// The topics that there are.
pub struct Topics {
    db: Database,
    log: Log,
    settings: TopicSettings,
    delivery: Arc<Delivery>,
    known: RwLock<HashSet<String>>,
    /// One is made at a time.
    making: Mutex<()>,
}

impl Topics {
    /// Those of the log.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(db: &Database, log: &Log, settings: &TopicSettings, delivery: Arc<Delivery>) -> db::Result<Self> {
        log.open(db, &[]).await?;
        let known = log.topics().iter().map(ToString::to_string).collect();
        let (db, log) = (db.clone(), log.clone());
        let (settings, known) = (settings.clone(), RwLock::new(known));
        Ok(Self { db, log, settings, delivery, known, making: Mutex::default() })
    }

    /// The topic of a service and a type.
    pub fn name(&self, service: &str, kind: &str) -> String {
        self.settings.template.replace("{service}", service).replace("{type}", kind)
    }

    /// Sees to it that the topic is there.
    ///
    /// # Errors
    /// `unknown-topic` where none is made of itself, `too-many-topics`, and the database's.
    pub async fn ensure(&self, topic: &str) -> Result<(), Problem> {
        if self.is_known(topic) {
            return Ok(());
        }
        if !self.settings.auto_create {
            return Err(Problem::new(&kinds::UNKNOWN_TOPIC).detail(format_args!("there is no topic {topic}")));
        }
        let _turn = self.making.lock().await;
        if self.is_known(topic) {
            return Ok(());
        }
        let (count, max) = (self.known.read().unwrap_or_else(PoisonError::into_inner).len(), self.settings.max.get());
        if count >= max as usize {
            return Err(Problem::new(&kinds::TOO_MANY_TOPICS).detail(format_args!("there are {count} topics")));
        }
        // check() holds it under a hundred
        let partitions = self.settings.partitions.get() as i32;
        let spec = TopicSpec { name: topic.to_owned().into(), partitions, direct: false };
        let (log, name, on_kafka) = (self.log.clone(), topic.to_owned(), self.delivery.is_there());
        let relay = move |tx: &mut Tx<'_>| if on_kafka { begin_relaying(tx, &log, &[&name]) } else { Ok(()) };
        self.log.add(&self.db, &[spec], relay).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
        self.delivery.more.notify_one();
        self.log.ask_groups();
        tracing::info!(topic, partitions, "a topic was made");
        Ok(())
    }

    fn is_known(&self, topic: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }
}
