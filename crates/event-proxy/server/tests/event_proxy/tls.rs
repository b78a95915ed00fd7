//! TLS by setting.

use std::fs;
use std::path::Path;

use event_proxy::Proxy;
use event_proxy::settings::Settings;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use serde_json::json;

use super::support::{PASSWORD, TestProxy, reply};

const CERTIFICATE: &str = "EVENT_PROXY__HTTP__TLS__CERTIFICATE";
const KEY: &str = "EVENT_PROXY__HTTP__TLS__KEY";

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn certified() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_its_key_make_it_https() {
    let (folder, own) = (tempfile::tempdir().unwrap(), certified());
    let certificate = write(folder.path(), "tls.crt", &own.cert.pem());
    let key = write(folder.path(), "tls.key", &own.signing_key.serialize_pem());
    let mut proxy = TestProxy::start(&[(CERTIFICATE, &certificate), (KEY, &key)]).await;
    assert!(proxy.url("/").starts_with("https://"));
    let trusted = Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().redirect(Policy::none()).tls_certs_only([trusted]).build().unwrap();
    let event = json!({ "service": "order", "type": "paid", "data": 1 });
    reply(client.post(proxy.url("/v1/events")).json(&event)).await.expect(202);
    let right = client.post(proxy.url("/admin/sign-in")).form(&[("password", PASSWORD)]).send().await.unwrap();
    let cookie = right.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.contains("; Secure"), "{cookie}");
    assert_eq!(right.headers()["strict-transport-security"], "max-age=31536000");

    // HTTP/2 would not be read within the limits
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let mut offer = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    offer.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut stream = std::net::TcpStream::connect(proxy.url("").trim_start_matches("https://")).unwrap();
    let mut tls = rustls::ClientConnection::new(offer.into(), "127.0.0.1".try_into().unwrap()).unwrap();
    tls.complete_io(&mut stream).unwrap();
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));

    let plain = proxy.url("/livez").replace("https", "http");
    assert!(Client::new().get(plain).send().await.is_err(), "nothing is answered without it");
    assert!(Client::new().get(proxy.url("/livez")).send().await.is_err(), "nobody trusts it who does not know it");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_can_not_be_used_are_named() {
    let (folder, own, other) = (tempfile::tempdir().unwrap(), certified(), certified());
    let certificate = write(folder.path(), "tls.crt", &own.cert.pem());
    let key = write(folder.path(), "tls.key", &own.signing_key.serialize_pem());
    let of_other = write(folder.path(), "other.key", &other.signing_key.serialize_pem());
    let empty = write(folder.path(), "empty", "");
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    for (certificate, key, setting) in [
        (certificate.as_str(), "", "http.tls.key"),
        ("", key.as_str(), "http.tls.certificate"),
        ("/no/such/file", &key, "http.tls.certificate"),
        (&empty, &key, "http.tls.certificate"),
        (&key, &key, "http.tls.certificate"),
        (&certificate, "/no/such/file", "http.tls.key"),
        (&certificate, &certificate, "http.tls.key"),
        (&certificate, &of_other, "http.tls.key"),
    ] {
        let named = [(CERTIFICATE, certificate), (KEY, key), ("EVENT_PROXY__DATA_DIR", &data)];
        let refused = Proxy::open(Settings::from(None, named).unwrap()).await.err().expect(setting);
        assert!(refused.to_string().starts_with(&format!("setting {setting}: ")), "{refused}");
        assert_eq!(refused.to_string().lines().count(), 1);
    }
}
