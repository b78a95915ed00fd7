//! A Kafka broker with certificates and passwords, run by `scripts/kafka`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use db::types::{Id, Time};
use messaging::{Bus, Event, ForeignBus, Publisher, Subscriber};
use messaging_kafka::{Kafka, KafkaOptions, TopicOptions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../scripts/kafka");
pub const USER: &str = "shop";
pub const PASSWORD: &str = "of-the-shop";
pub const TOPIC: &str = "things";

pub struct Broker {
    folder: TempDir,
    /// `host:port` of the listener with TLS only.
    pub tls: String,
    /// Address of the listener that requires a client certificate.
    pub mutual: String,
    /// Address of the listener that requires SASL.
    pub sasl: String,
}

/// Returns the broker of a running test, or a new broker.
pub async fn broker() -> Arc<Broker> {
    static SHARED: Mutex<Weak<Broker>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(broker) = shared.upgrade() {
        return broker;
    }
    let started = tokio::task::spawn_blocking(Broker::start).await;
    let broker = Arc::new(started.expect("a broker that asks for passwords"));
    *shared = Arc::downgrade(&broker);
    broker
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make_certificates(folder.path());
        // all at once, so that they differ
        let free = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
        let [tls, mutual, sasl] = free.map(|free| free.local_addr().expect("its address").to_string());
        let broker = Self { folder, tls, mutual, sasl };
        let properties = broker.file("server.properties");
        fs::write(&properties, broker.properties()).expect("properties");
        let mut start = Command::new(SCRIPT);
        run(start.args(["start", "1", "0"]).arg(broker.data()).env("KAFKA_PROPERTIES", &properties));
        let scram = format!("SCRAM-SHA-512=[password={PASSWORD}]");
        let user = ["configs", "--alter", "--entity-type", "users", "--entity-name", USER, "--add-config", &scram];
        run(Command::new(SCRIPT).arg("cli").arg(broker.data()).args(user));
        broker
    }

    fn properties(&self) -> String {
        let Self { tls, mutual, sasl, .. } = self;
        let ours = format!("TLS://{tls},MUTUAL://{mutual},SASL://{sasl}");
        let module = "org.apache.kafka.common.security";
        let (server, ca) = (self.file("server.pem"), self.file("ca.pem"));
        let (server, ca) = (server.display(), ca.display());
        format!(
            "listeners={ours},PLAINTEXT://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@
advertised.listeners={ours},PLAINTEXT://127.0.0.1:@PORT@
listener.security.protocol.map=TLS:SSL,MUTUAL:SSL,SASL:SASL_SSL,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={server}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mutual.ssl.client.auth=required
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
listener.name.sasl.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;
listener.name.sasl.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl.oauthbearer.connections.max.reauth.ms=60000
"
        )
    }

    fn data(&self) -> PathBuf {
        self.file("kafka")
    }

    /// Returns the path of `ca.pem`, `client.pem`, `client.key`, or `other-ca.pem`, which signed nothing here.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the cluster for clients that trust the certificate, with additional properties.
    pub fn connect(&self, servers: &str, properties: &[(&str, &str)]) -> Kafka {
        Kafka::new(self.options(servers, properties)).expect("good properties")
    }

    pub fn options(&self, servers: &str, properties: &[(&str, &str)]) -> KafkaOptions {
        let ca = self.file("ca.pem");
        let ca = ("ssl.ca.location", ca.to_str().expect("a path in UTF-8"));
        let properties = [ca]
            .into_iter()
            .chain(properties.iter().copied())
            .map(|(name, value)| (name.to_string(), value.to_string()));
        KafkaOptions {
            bootstrap_servers: servers.to_owned(),
            prefix: format!("{}-", Uuid::new_v4().simple()),
            properties: properties.collect(),
            ..KafkaOptions::default()
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        run(Command::new(SCRIPT).arg("destroy").arg(self.data()));
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("scripts/kafka");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn make_certificates(folder: &Path) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
    let [issuer, _] = ["ca.pem", "other-ca.pem"].map(|name| {
        let key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write(name, &ca.self_signed(&key).expect("a certificate").pem());
        Issuer::new(ca, key)
    });
    let [server, client] = [(); 2].map(|()| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
    });
    write("server.pem", &format!("{}{}", server.1, server.0));
    write("client.pem", &client.0);
    write("client.key", &client.1);
}

/// Creates a topic, and sends and reads an event.
pub async fn goes_round(kafka: &Kafka) {
    let source = Id::new();
    kafka.ensure_topics(&[(TOPIC.to_owned(), 1)], &TopicOptions::default()).await.expect("a topic");
    let sent = [event(source)];
    kafka.publisher(Duration::ZERO).publish(&sent).await.expect("stored");
    let subscriber = kafka.bus(source).subscribe("readers");
    assert_eq!(next(&subscriber, -1).await, sent);
    assert_eq!(kafka.records(TOPIC, 0).await.expect("looked at"), sent);
    assert!(!kafka.foreign().cluster().await.expect("asked").is_empty());
}

/// Returns the events behind `after`; retries refusals of a new broker and an unavailable bus.
pub async fn next(subscriber: &Arc<dyn Subscriber>, after: i64) -> Vec<Event> {
    for _ in 0..100 {
        match subscriber.fetch(TOPIC, 0, after, 10).await {
            Ok(events) if !events.is_empty() => return events,
            Ok(_) => {}
            Err(error) => println!("{error}"),
        }
    }
    panic!("nothing came behind {after}");
}

/// Returns the error of a failed connection, in one line.
pub async fn refusal(kafka: &Kafka) -> String {
    let reason = kafka.check().await.expect_err("it is refused").to_string();
    println!("{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    reason
}

pub fn event(source: Id) -> Event {
    Event {
        id: Id::new(),
        source,
        epoch: messaging::FIRST_EPOCH,
        topic: TOPIC.into(),
        partition: 0,
        position: 0,
        key: "key".into(),
        kind: "test.thing".into(),
        version: 1,
        aggregate_version: 1,
        occurred_at: Time::now(),
        traceparent: None,
        payload: r#"{"text":"장터"}"#.into(),
    }
}
