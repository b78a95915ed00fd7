//! TLS, without SASL.

use super::broker::{broker, goes_round, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_by_tls() {
    let broker = broker().await;
    goes_round(&broker.connect(&broker.tls, &[("security.protocol", "ssl")])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_with_a_certificate_of_the_client() {
    let broker = broker().await;
    let (certificate, key) = (broker.file("client.pem"), broker.file("client.key"));
    let shown = [
        ("security.protocol", "ssl"),
        ("ssl.certificate.location", certificate.to_str().expect("a path")),
        ("ssl.key.location", key.to_str().expect("a path")),
    ];
    goes_round(&broker.connect(&broker.mutual, &shown)).await;
    let reason = refusal(&broker.connect(&broker.mutual, &shown[..1])).await;
    assert!(reason.contains("ssl.certificate.location"), "{reason}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told() {
    let broker = broker().await;
    let other = broker.file("other-ca.pem");
    for ca in [other.to_str().expect("a path"), "probe"] {
        let kafka = broker.connect(&broker.tls, &[("security.protocol", "ssl"), ("ssl.ca.location", ca)]);
        let reason = refusal(&kafka).await;
        assert!(reason.contains("ssl.ca.location") && reason.contains(&broker.tls), "{reason}");
    }
}

#[tokio::test]
async fn a_wrong_address_is_told() {
    let broker = broker().await;
    for servers in ["127.0.0.1:1", "no-such-host.invalid:9093"] {
        let reason = refusal(&broker.connect(servers, &[("security.protocol", "ssl")])).await;
        assert!(reason.contains(servers), "{reason}");
    }
}

#[tokio::test]
async fn a_way_that_the_port_does_not_speak_is_told() {
    let broker = broker().await;
    for (servers, protocol) in [(&broker.tls, "plaintext"), (&broker.sasl, "ssl")] {
        let reason = refusal(&broker.connect(servers, &[("security.protocol", protocol)])).await;
        assert!(reason.contains(servers) && reason.contains("security.protocol"), "{reason}");
    }
}
