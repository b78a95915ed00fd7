//! SASL with a name and a password.

use super::broker::{PASSWORD, USER, broker, goes_round, refusal};

const MECHANISMS: [&str; 2] = ["PLAIN", "SCRAM-SHA-512"];

fn by(mechanism: &'static str, password: &'static str) -> [(&'static str, &'static str); 4] {
    [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", USER),
        ("sasl.password", password),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_with_a_password() {
    let broker = broker().await;
    for mechanism in MECHANISMS {
        goes_round(&broker.connect(&broker.sasl, &by(mechanism, PASSWORD))).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let broker = broker().await;
    for mechanism in MECHANISMS {
        let reason = refusal(&broker.connect(&broker.sasl, &by(mechanism, "of-nobody"))).await;
        assert!(reason.contains("sasl.password") && !reason.contains("of-nobody"), "{reason}");
    }
}

#[tokio::test]
async fn a_mechanism_that_the_cluster_does_not_take_is_told() {
    let broker = broker().await;
    let reason = refusal(&broker.connect(&broker.sasl, &by("SCRAM-SHA-256", PASSWORD))).await;
    assert!(reason.contains("SCRAM-SHA-256"), "{reason}");
}
