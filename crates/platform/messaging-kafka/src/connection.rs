//! A cluster, and clients of the cluster.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use db::types::Id;
use messaging::BusError;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::auth::tokens::Tokens;
use crate::consumer::{KafkaBus, Reads};
use crate::external::KafkaForeign;
use crate::health::Clients;
use crate::producer::KafkaPublisher;

/// Time-out of a check for a broker's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Properties that the event protocol depends on.
const OURS: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms", // another name of message.timeout.ms
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "message.timeout.ms",
    "metadata.broker.list", // another name of bootstrap.servers
    "partitioner",
    "request.required.acks",
    "transactional.id",
];

/// Properties with the only value that can be set: a producer refuses large values. The second is another name of the
/// first.
const AT_MOST: &[(&str, &str)] = &[("max.in.flight.requests.per.connection", "1"), ("max.in.flight", "1")];

/// Properties of all clients, unless the operator sets them.
const ALWAYS: &[(&str, &str)] = &[
    ("log.connection.close", "false"),
    #[cfg(feature = "tls")] // the OpenSSL that is built in does not know where the system keeps its certificates
    ("ssl.ca.location", "probe"),
];

/// Properties to check for a message of librdkafka about connections.
const LOOK_AT: &[(&str, &str)] = &[
    ("certificate verify failed", "ssl.ca.location"),
    ("SSL alert", "ssl.certificate.location and ssl.key.location"), // brokers that ask for a client's certificate
    ("SSL handshake failed", "security.protocol"),
    ("Disconnected", "security.protocol"),
];

/// Address and options of a cluster.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// `host:port,…`
    pub bootstrap_servers: String,
    /// Prefix of each topic and group on the cluster, so that several shops can share a cluster.
    pub prefix: String,
    /// Any property of librdkafka.
    pub properties: BTreeMap<String, String>,
    /// Region of an Amazon MSK cluster that accepts the program's AWS credentials.
    pub aws_iam_region: Option<String>,
}

/// An unusable property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct BadProperty {
    pub name: String,
    pub reason: String,
}

/// A cluster; clones share the state. Connects only at the first request.
#[derive(Debug, Clone)]
pub struct Kafka {
    options: Arc<KafkaOptions>,
    tokens: Option<Arc<Tokens>>,
    pub(crate) clients: Arc<Clients>,
}

impl Kafka {
    /// Looks at the options without connecting.
    ///
    /// # Errors
    /// The first property that librdkafka does not know, that has a bad value, or that must not be set.
    pub fn new(mut options: KafkaOptions) -> Result<Self, BadProperty> {
        let bad = |name: &str, reason: String| BadProperty { name: name.to_owned(), reason };
        if options.bootstrap_servers.trim().is_empty() {
            return Err(bad("bootstrap.servers", "must be set to reach Kafka: host:port,…".into()));
        }
        if let Some(name) = options.properties.keys().find(|name| OURS.contains(&name.as_str())) {
            return Err(bad(name, "is not to be set: what events are promised rests on it".into()));
        }
        for (name, safe) in AT_MOST {
            if options.properties.get(*name).is_some_and(|value| value != safe) {
                return Err(bad(name, format!("can only be set to {safe}: what events are promised rests on it")));
            }
        }
        let tokens = Tokens::new(&mut options.properties, options.aws_iam_region.as_deref())?.map(Arc::new);
        let kafka = Self { options: Arc::new(options), tokens, clients: Arc::default() };
        // alone, so that the one to blame is known
        for (name, value) in &kafka.options.properties {
            let mut config = ClientConfig::new();
            if let Err(error) = config.set(name, value).create_native_config() {
                return Err(bad(name, text(&error)));
            }
        }
        kafka.config(&[]).create::<BaseConsumer>().map_err(|error| bad("properties", text(&error)))?;
        Ok(kafka)
    }

    /// Returns the publisher of the relay. The records of a batch go at once, or wait up to `linger` for each other:
    /// if batches have several records, an early request for the first record costs client and broker as much as a
    /// request for all.
    pub fn publisher(&self, linger: Duration) -> KafkaPublisher {
        KafkaPublisher::new(self.clone(), linger)
    }

    /// Returns the bus of groups: the events of the log `source`.
    pub fn bus(&self, source: Id) -> KafkaBus {
        KafkaBus::new(self.clone(), Reads::Log(source))
    }

    /// Returns the external topics, under their own names.
    pub fn foreign(&self) -> KafkaForeign {
        let options = KafkaOptions { prefix: String::new(), ..(*self.options).clone() };
        KafkaForeign::new(self.clone(), Self { options: options.into(), ..self.clone() })
    }

    /// Returns true if a broker answers, within a few seconds.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], with the reason given by the clients.
    pub async fn check(&self) -> Result<(), BusError> {
        self.check_within(PATIENCE).await
    }

    /// Returns once a broker answers, or fails after `patience`.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn check_within(&self, patience: Duration) -> Result<(), BusError> {
        self.blocking(move |kafka| {
            // unlike a consumer it is told the reason
            // that a connection was closed may be all that comes of the wrong security.protocol
            let producer: BaseProducer<Heard> = kafka.client(&[("log.connection.close", "true")])?;
            let metadata = producer.client().fetch_metadata(None, patience).map_err(|error| {
                producer.poll(Duration::from_millis(200)); // it is told one event after the other
                producer.context().explain(&error)
            })?;
            names_brokers(&metadata)
        })
        .await
    }

    /// Probes each long-lived client that has heard nothing since the last call, if the cluster `is_there` for a new client.
    /// A client that is deaf is replaced when its owner needs it. Returns true if a client did not answer.
    pub async fn see_to_clients(&self, is_there: bool) -> bool {
        self.clients.look(is_there).await
    }

    /// Returns a line for each long-lived client that has heard nothing for some time, as of the last probe.
    pub fn silent_clients(&self) -> Vec<String> {
        self.clients.silent()
    }

    /// Returns the clients' token for signing in, if configured. For tests.
    ///
    /// # Errors
    /// The reason for having no token.
    pub fn token(&self) -> Option<Result<OAuthToken, String>> {
        self.tokens.as_ref().map(|tokens| tokens.current())
    }

    /// Returns the name of a topic or a group on the cluster.
    pub fn named(&self, name: &str) -> String {
        format!("{}{name}", self.options.prefix)
    }

    /// Returns a client configuration; properties of the operator override `ours`.
    pub(crate) fn config(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.bootstrap_servers).set("client.id", "jangteo");
        let signing_in = self.tokens.as_ref().map_or(&[][..], |tokens| tokens.properties());
        ALWAYS.iter().chain(ours).chain(signing_in).for_each(|(name, value)| {
            config.set(*name, *value);
        });
        self.options.properties.iter().for_each(|(name, value)| {
            config.set(name, value);
        });
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// Returns a client that can connect.
    pub(crate) fn client<T: Connects>(&self, ours: &[(&str, &str)]) -> Result<T, BusError> {
        let context = Heard { tokens: self.tokens.clone(), last: Mutex::default() };
        let client: T = self.config(ours).create_with_context(context.into()).map_err(|error| away(&error))?;
        if let Some(tokens) = &self.tokens {
            let away = |reason| BusError::Unavailable(format!("kafka: {reason}"));
            tokens.hand_to(client.inner()).map_err(away)?;
        }
        Ok(client)
    }

    /// [`blocking`], with the cluster.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, BusError> {
        let kafka = self.clone();
        blocking(move || work(kafka)).await
    }
}

/// Maximum number of threads that wait for Kafka: the remaining threads serve the database.
const WAITING: usize = 16;

/// Runs blocking work on a separate thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    static TURNS: Semaphore = Semaphore::const_new(WAITING);
    let turn = TURNS.acquire().await.map_err(|error| BusError::Unavailable(error.to_string()))?;
    let done = spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.unwrap_or_else(|error| Err(BusError::Unavailable(error.to_string())))
}

/// Fails for an answer without brokers: brokers that have just started, and count for nothing yet, answer so.
pub(crate) fn names_brokers(metadata: &Metadata) -> Result<(), BusError> {
    if metadata.brokers().is_empty() {
        return Err(BusError::Unavailable("kafka: a broker answers that the cluster has no brokers yet".into()));
    }
    Ok(())
}

/// Returns a temporary error for any error of Kafka: no event is ever given up because of such an error.
pub(crate) fn away(error: &KafkaError) -> BusError {
    BusError::Unavailable(format!("kafka: {}", text(error)))
}

/// Whether another event would have been taken: Kafka is there, and the topic too. A timestamp is the time of sending, so
/// that a refused one tells of a clock.
fn is_of_the_event(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessage, InvalidRecord, MessageSizeTooLarge};
    let of_events = [MessageSizeTooLarge, InvalidMessage, InvalidRecord];
    error.rdkafka_error_code().is_some_and(|code| of_events.contains(&code))
}

/// Returns the innermost cause: the text of librdkafka.
fn text(error: &KafkaError) -> String {
    match error {
        // without the value, which may be a secret
        KafkaError::ClientConfig(_, reason, name, _) => format!("{name}: {reason}"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        other => other.rdkafka_error_code().map_or_else(|| other.to_string(), |code| code.to_string()),
    }
}

/// Keeps the last message of a client about connections. The clients repeat such messages, so the messages are not
/// logged.
#[derive(Default)]
pub(crate) struct Heard {
    tokens: Option<Arc<Tokens>>,
    last: Mutex<Option<String>>,
}

impl Heard {
    /// Returns the error together with the last message, which tells the reason.
    pub(crate) fn explain(&self, error: &KafkaError) -> BusError {
        let heard = self.last.lock().take();
        let heard = heard.map_or_else(String::new, |heard| format!(" ({heard})"));
        let reason = format!("{}{heard}", text(error));
        if is_of_the_event(error) {
            BusError::Refused(reason)
        } else {
            BusError::Unavailable(format!("kafka: {reason}"))
        }
    }

    /// Keeps a message, with the names of suspicious properties where librdkafka gives none.
    fn keep(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let names = if code == Some(RDKafkaErrorCode::Authentication) {
            let of_tokens = self.tokens.as_ref().map(|tokens| tokens.names());
            Some(of_tokens.unwrap_or("sasl.mechanisms, sasl.username and sasl.password"))
        } else {
            LOOK_AT.iter().find(|(said, _)| reason.contains(said)).map(|(_, names)| *names)
        };
        let names = names.filter(|names| !reason.contains(names));
        let look_at = names.map_or_else(String::new, |names| format!("; look at {names}"));
        *self.last.lock() = Some(format!("{reason}{look_at}"));
    }
}

impl ClientContext for Heard {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// Called when a client is polled; never waits, because the client already got a token.
    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.as_ref().map_or_else(|| Err("no tokens".into()), |tokens| Ok(tokens.current()?))
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
        // there is no error for a connection that was closed, only this
        if facility == "FAIL" && matches!(level, RDKafkaLogLevel::Warning | RDKafkaLogLevel::Info) {
            let (_thread, reason) = message.split_once("]: ").unwrap_or(("", message));
            self.keep(None, reason);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        // that all are down says nothing of why
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.keep(error.rdkafka_error_code(), reason);
        }
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ConsumerContext for Heard {}

/// Access to the inner client of each kind of client.
pub(crate) trait Connects: FromClientConfigAndContext<Self::Context> + Send + Sync + 'static {
    type Context: ClientContext + From<Heard>;
    fn inner(&self) -> &Client<Self::Context>;
}

impl<C: ConsumerContext + From<Heard> + 'static> Connects for BaseConsumer<C> {
    type Context = C;
    fn inner(&self) -> &Client<C> {
        self.client()
    }
}

impl Connects for StreamConsumer<Heard> {
    type Context = Heard;
    fn inner(&self) -> &Client<Heard> {
        self.client()
    }
}

impl<C: ProducerContext + From<Heard> + 'static> Connects for BaseProducer<C> {
    type Context = C;
    fn inner(&self) -> &Client<C> {
        self.client()
    }
}

impl<C: ProducerContext + From<Heard> + 'static> Connects for ThreadedProducer<C> {
    type Context = C;
    fn inner(&self) -> &Client<C> {
        self.client()
    }
}

impl<C: ClientContext + From<Heard> + 'static> Connects for AdminClient<C> {
    type Context = C;
    fn inner(&self) -> &Client<C> {
        Self::inner(self)
    }
}
