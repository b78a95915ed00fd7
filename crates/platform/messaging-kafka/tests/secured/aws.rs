//! Amazon MSK with IAM, as far as possible without AWS.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use messaging_kafka::{Kafka, KafkaOptions};
use reqwest::Url;
use testkit::again_with;

use super::broker::{broker, refusal};

/// Variables that hide all other AWS credentials from a program.
const NOWHERE: [(&str, &str); 3] = [
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ("AWS_CONFIG_FILE", "/dev/null"),
];

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "of-nobody")];

fn nowhere() -> KafkaOptions {
    KafkaOptions { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaOptions::default() }
}

fn in_ireland(options: KafkaOptions) -> Kafka {
    Kafka::new(KafkaOptions { aws_iam_region: Some("eu-west-1".into()), ..options }).expect("options")
}

/// The token has the form of AWS signers: a presigned URL for a connect request.
#[test]
fn a_token_of_aws_is_an_address_that_is_signed() {
    if !again_with("secured::aws::a_token_of_aws_is_an_address_that_is_signed", &[&NOWHERE[..], &KEYS].concat()) {
        return;
    }
    let token = in_ireland(nowhere()).token().expect("tokens are asked for").expect("credentials of the environment");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis();
    let left = token.lifetime_ms - i64::try_from(now).expect("a time");
    assert!((600_000..=900_000).contains(&left), "{left} ms");
    let address = BASE64_URL_SAFE_NO_PAD.decode(token.token).expect("base64");
    let address: Url = str::from_utf8(&address).expect("text").parse().expect("a URL");
    assert_eq!((address.scheme(), address.host_str()), ("https", Some("kafka.eu-west-1.amazonaws.com")));
    let parts: HashMap<_, _> = address.query_pairs().into_owned().collect();
    assert_eq!(parts["Action"], "kafka-cluster:Connect");
    assert_eq!(parts["X-Amz-Algorithm"], "AWS4-HMAC-SHA256");
    assert_eq!((&*parts["X-Amz-Expires"], &*parts["X-Amz-SignedHeaders"]), ("900", "host"));
    let (key, scope) = parts["X-Amz-Credential"].split_once('/').expect("a key and its scope");
    assert!(key == KEYS[0].1 && scope.ends_with("/eu-west-1/kafka-cluster/aws4_request"), "{key}/{scope}");
    assert_eq!(parts["X-Amz-Signature"].len(), 64);
}

/// Only MSK takes the token; the test broker's error shows that the token arrived, by TLS.
#[tokio::test]
async fn a_token_of_aws_comes_to_the_broker() {
    let test = "secured::aws::a_token_of_aws_comes_to_the_broker";
    if again_with(test, &[&NOWHERE[..], &KEYS].concat()) {
        let broker = broker().await;
        let reason = refusal(&in_ireland(broker.options(&broker.sasl, &[]))).await;
        assert!(reason.contains("aws_iam_region") && reason.contains(&broker.sasl), "{reason}");
    }
}

#[tokio::test]
async fn credentials_that_aws_does_not_give_are_told() {
    if again_with("secured::aws::credentials_that_aws_does_not_give_are_told", &NOWHERE) {
        let reason = refusal(&in_ireland(nowhere())).await;
        assert!(reason.contains("aws_iam_region") && reason.contains("credentials"), "{reason}");
    }
}

#[test]
fn a_region_that_cannot_be_is_refused() {
    let with = |region: &str, properties: &[(&str, &str)]| {
        let properties = properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let aws_iam_region = Some(region.to_owned());
        Kafka::new(KafkaOptions { properties, aws_iam_region, ..nowhere() })
    };
    assert!(with("eu-west-1", &[]).is_ok());
    for region in ["", "Ireland", "evil.example/"] {
        assert_eq!(with(region, &[]).expect_err(region).name, "aws_iam_region");
    }
    let refused = with("eu-west-1", &[("sasl.mechanisms", "PLAIN")]).expect_err("two ways at once");
    assert_eq!(refused.name, "sasl.mechanisms");
}
