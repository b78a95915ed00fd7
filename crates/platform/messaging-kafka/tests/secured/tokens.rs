//! SASL OAUTHBEARER with tokens of an identity provider.

use std::time::Duration;

use db::types::Id;
use messaging::{Bus, ForeignBus, Publisher};
use messaging_kafka::{Kafka, KafkaOptions, TopicOptions};

use super::broker::{Broker, TOPIC, broker, event, goes_round, next, refusal};
use super::provider::Provider;

fn kafka(broker: &Broker, url: &str, secret: &str) -> Kafka {
    let properties = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.token.endpoint.url", url),
        ("sasl.oauthbearer.client.id", "shop"),
        ("sasl.oauthbearer.client.secret", secret),
        ("sasl.oauthbearer.scope", "kafka events"),
    ];
    broker.connect(&broker.sasl, &properties)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_with_a_token_that_all_clients_share() {
    let (broker, provider) = (broker().await, Provider::start(Duration::from_secs(600)));
    goes_round(&kafka(&broker, &provider.url(), "of-the-shop")).await;
    assert_eq!(provider.granted(), 1);
}

/// The brokers close a connection with an expired token, unless the client renews the token before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_when_tokens_expire() {
    let (broker, provider) = (broker().await, Provider::start(Duration::from_secs(9)));
    let kafka = kafka(&broker, &provider.url(), "of-the-shop");
    let source = Id::new();
    kafka.ensure_topics(&[(TOPIC.to_owned(), 1)], &TopicOptions::default()).await.expect("a topic");
    let (publisher, foreign) = (kafka.publisher(Duration::ZERO), kafka.foreign());
    let subscriber = kafka.bus(source).subscribe("readers");
    for position in 0.. {
        if provider.granted() >= 4 {
            return;
        }
        let mut sent = event(source);
        sent.position = position;
        publisher.publish(std::slice::from_ref(&sent)).await.expect("stored");
        assert_eq!(next(&subscriber, position - 1).await, [sent]);
        foreign.held(TOPIC, 1).await.expect("asked");
    }
}

#[tokio::test]
async fn a_provider_that_grants_nothing_is_told() {
    let (broker, provider) = (broker().await, Provider::start(Duration::from_secs(600)));
    let reason = refusal(&kafka(&broker, &provider.url(), "of-nobody")).await;
    assert!(reason.contains("sasl.oauthbearer.client.secret: ") && !reason.contains("of-nobody"), "{reason}");
    let reason = refusal(&kafka(&broker, "http://127.0.0.1:1/token", "of-the-shop")).await;
    assert!(reason.contains("sasl.oauthbearer.token.endpoint.url: ") && reason.contains("refused"), "{reason}");
}

#[test]
fn what_a_token_is_asked_for_with_must_be_there() {
    let refused = |properties: &[(&str, &str)]| {
        let properties = properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let bootstrap_servers = "127.0.0.1:1".into();
        let options = KafkaOptions { bootstrap_servers, properties, ..KafkaOptions::default() };
        Kafka::new(options).expect_err("something is missing").name
    };
    let url = ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1:1/");
    assert_eq!(refused(&[("sasl.mechanisms", "OAUTHBEARER")]), "sasl.mechanisms");
    assert_eq!(refused(&[("sasl.oauthbearer.method", "magic")]), "sasl.oauthbearer.method");
    assert_eq!(refused(&[("sasl.oauthbearer.method", "oidc")]), "sasl.oauthbearer.token.endpoint.url");
    assert_eq!(refused(&[("sasl.oauthbearer.method", "oidc"), (url.0, "here")]), url.0);
    assert_eq!(refused(&[("sasl.oauthbearer.method", "oidc"), url]), "sasl.oauthbearer.client.id");
    let client = [("sasl.oauthbearer.client.id", "shop"), ("sasl.oauthbearer.client.secret", "of-the-shop")];
    let all = [("sasl.oauthbearer.method", "oidc"), url, client[0], client[1]];
    assert_eq!(refused(&all), "security.protocol", "plaintext unless set");
    assert_eq!(refused(&[&all[..], &[("sasl.mechanisms", "PLAIN")]].concat()), "sasl.mechanisms");
}
