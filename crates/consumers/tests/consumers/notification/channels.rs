//! Mails and webhooks: each once as far as the channel allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use consumers::notification::{self, NotificationSettings};
use contracts::events::DeliveryStatus;
use contracts::{MemberId, OrderId, ProductId};
use hmac::{Hmac, KeyInit, Mac};
use messaging::{EffectHandler, Lease};
use serde_json::{Value, json};
use sha2::Sha256;

use super::super::given::{Given, databases};
use super::super::outside::{Http, Smtp, assert_failed, assert_unavailable, effect, lease, nowhere};
use super::{admin, delivery_is, low_stock, member, paid_by};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn settings(section: Value) -> NotificationSettings {
    serde_json::from_value(section).expect("settings")
}

/// Returns the only channel of the settings.
fn channel(name: &str, section: Value, given: &Given) -> Arc<dyn EffectHandler> {
    let groups = notification::channels(&settings(section), &given.db).expect("channels");
    let [group] = &groups[..] else { panic!("one channel") };
    assert_eq!(group.name, name);
    effect(group)
}

fn email(address: std::net::SocketAddr, given: &Given) -> Arc<dyn EffectHandler> {
    let section = json!({"host": "127.0.0.1", "port": address.port(), "security": "none", "from": "Shop <shop@example.com>",
               "resend_after": "20ms"});
    channel("notification-email", json!({"email": section}), given)
}

fn webhook(url: &str, given: &Given) -> Arc<dyn EffectHandler> {
    channel("notification-webhook", json!({"webhook": {"url": url, "secret": SECRET}}), given)
}

fn at_0() -> Lease {
    lease("payment-completed", 0, 1)
}

#[tokio::test]
async fn a_channel_exists_once_it_is_configured() {
    let given = databases().await.remove(0);
    assert!(notification::channels(&settings(json!({})), &given.db).expect("none").is_empty());
    let both = json!({"email": {"host": "localhost"}, "webhook": {"url": "http://localhost", "secret": SECRET}});
    let names = notification::channels(&settings(both), &given.db).expect("both");
    assert_eq!(
        names.iter().map(|group| group.name).collect::<Vec<_>>(),
        ["notification-email", "notification-webhook"]
    );
    for (section, error) in [
        (json!({"email": {"host": "localhost", "from": "nobody"}}), "notification.email.from"),
        (
            json!({"email": {"host": "mail host", "from": "a@example.com"}}),
            "notification.email.host: expected the name",
        ),
        (
            json!({"email": {"host": "localhost", "from": "a@example.com", "security": "tls", "ca_file": "/dev/null"}}),
            "notification.email.ca_file: /dev/null: holds no certificate",
        ),
        (json!({"webhook": {"url": "http://localhost"}}), "notification.webhook.secret: is not set"),
        (
            json!({"webhook": {"url": "http://localhost", "secret": "hush"}}),
            "notification.webhook.secret: must begin with whsec_",
        ),
        (
            json!({"webhook": {"url": "ftp://localhost", "secret": SECRET}}),
            "notification.webhook.url: must begin with http:// or https://",
        ),
    ] {
        let refused = notification::channels(&settings(section), &given.db).map(|groups| groups.len());
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.starts_with(&format!("setting {error}")), "{refused}");
    }
    let shown = format!("{:?}", settings(json!({"email": {"password": "hush"}, "webhook": {"secret": SECRET}})));
    assert!(!shown.contains("hush") && !shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn a_mail_is_sent_once_to_whom_it_concerns() {
    for given in databases().await {
        let server = Smtp::start().await;
        let buyer = member(&given, "buyer@example.com").await;
        let handler = email(server.address, &given);
        let events = [paid_by(buyer), delivery_is(DeliveryStatus::Waiting, buyer, OrderId::new())];
        for _ in 0..2 {
            handler.handle(&at_0(), &events).await.expect("handled");
        }
        let [mail] = &server.got()[..] else { panic!("one mail") };
        assert_eq!(mail.to, "buyer@example.com");
        for part in [
            "From: Shop <shop@example.com>",
            "Subject: Your payment",
            &format!("Message-ID: <{}.{buyer}@example.com>", events[0].id),
            "You paid 19000 KRW for tea, 900 KRW less by coupon.",
        ] {
            assert!(mail.text.contains(part), "{part} is not in {}", mail.text);
        }
        handler.handle(&at_0(), &[paid_by(MemberId::new())]).await.expect("nobody to tell");
        assert_eq!(server.got().len(), 1);
    }
}

#[tokio::test]
async fn mails_wait_for_a_server_that_is_down() {
    for given in databases().await {
        let address = nowhere().await;
        let mut buyers = Vec::new();
        for email in ["a@example.com", "b@example.com", "c@example.com"] {
            buyers.push(member(&given, email).await);
        }
        let events: Vec<_> = buyers.iter().map(|buyer| paid_by(*buyer)).collect();
        let handler = email(address, &given);
        assert_unavailable(handler.handle(&at_0(), &events).await);
        let server = Smtp::at(address).await;
        handler.handle(&at_0(), &events).await.expect("handled");
        assert_eq!(server.recipients(), ["a@example.com", "b@example.com", "c@example.com"]);
    }
}

#[tokio::test]
async fn a_mailbox_that_is_refused_for_good_keeps_nobody_from_their_mail() {
    for given in databases().await {
        let server = Smtp::start().await;
        for email in ["one@example.com", "refused@example.com", "two@example.com"] {
            admin(&given, email).await;
        }
        let handler = email(server.address, &given);
        for _ in 0..3 {
            handler
                .handle(&at_0(), &[low_stock(ProductId::new()), low_stock(ProductId::new())])
                .await
                .expect("handled");
        }
        let mut recipients = server.recipients();
        recipients.sort();
        recipients.dedup();
        assert_eq!(recipients, ["one@example.com", "two@example.com"]);
        assert_eq!(server.got().len(), 12);
        assert_eq!(server.refused(), 6);
    }
}

#[tokio::test]
async fn a_mail_that_was_refused_for_good_is_not_sent_again() {
    for given in databases().await {
        let server = Smtp::start().await;
        let events = [paid_by(member(&given, "refused@example.com").await)];
        let handler = email(server.address, &given);
        for _ in 0..3 {
            handler.handle(&at_0(), &events).await.expect("handled");
        }
        assert_eq!(server.refused(), 1);
    }
}

#[tokio::test]
async fn only_a_refusal_of_the_mailbox_is_the_recipients_own() {
    for given in databases().await {
        let server = Smtp::start().await;
        let handler = email(server.address, &given);
        for (address, is_own) in [
            ("refused+unknown@example.com", true),
            ("refused+policy@example.com", false),
            ("refused+sender@example.com", false),
        ] {
            let answer = handler.handle(&at_0(), &[paid_by(member(&given, address).await)]).await;
            if is_own { answer.expect("handled") } else { assert_failed(answer) }
        }
    }
}

#[tokio::test]
async fn a_busy_mailbox_holds_up_nobody_and_gets_its_mails_later_once() {
    for given in databases().await {
        let server = Smtp::start().await;
        let busy = member(&given, "busy@example.com").await;
        let mut events = vec![paid_by(busy)];
        for email in ["one@example.com", "two@example.com"] {
            events.push(paid_by(member(&given, email).await));
        }
        events.push(paid_by(busy));
        let handler = email(server.address, &given);
        for _ in 0..2 {
            handler.handle(&at_0(), &events).await.expect("handled");
        }
        assert_eq!(server.recipients(), ["one@example.com", "two@example.com"]);
        handler.taken(&at_0()).await.expect("taken");
        server.free_mailboxes();
        while server.got().len() < 4 {
            tokio::task::yield_now().await;
        }
        handler.handle(&at_0(), &events).await.expect("handled");
        assert_eq!(server.recipients()[2..], ["busy@example.com", "busy@example.com"]);
    }
}

#[tokio::test]
async fn a_webhook_is_signed_as_the_standard_has_it() {
    for given in databases().await {
        let server = Http::answering(|_| (200, String::new())).await;
        let buyer = MemberId::new();
        let handler = webhook(&server.url(), &given);
        let events = [paid_by(buyer), delivery_is(DeliveryStatus::Waiting, buyer, OrderId::new())];
        for _ in 0..2 {
            handler.handle(&at_0(), &events).await.expect("handled");
        }
        let [request] = &server.got()[..] else { panic!("one request") };
        let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
        assert_eq!(id, events[0].id.to_string());
        let key = BASE64_STANDARD.decode(&SECRET["whsec_".len()..]).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("{id}.{timestamp}.{}", request.text()).as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(request.header("webhook-signature"), format!("v1,{signature}"));
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(
            (&body["type"], &body["timestamp"]),
            (&json!("shop.payment.completed"), &json!(events[0].occurred_at))
        );
        assert_eq!((&body["data"]["kind"], &body["data"]["member_id"]), (&json!("payment-completed"), &json!(buyer)));
        assert_eq!(body["data"]["event"]["amount"], "19000");
    }
}

#[tokio::test]
async fn a_webhook_in_trouble_halfway_sends_only_the_rest() {
    for given in databases().await {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let server = Http::answering(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            2 => (503, String::new()),
            3 => (422, String::new()),
            _ => (204, String::new()),
        });
        let server = server.await;
        let handler = webhook(&server.url(), &given);
        let events: Vec<_> = (0..4).map(|_| paid_by(MemberId::new())).collect();
        assert_unavailable(handler.handle(&at_0(), &events).await);
        assert_failed(handler.handle(&at_0(), &events).await);
        handler.handle(&at_0(), &events).await.expect("handled");
        let sent: Vec<_> = server.got().iter().map(|request| request.header("webhook-id").to_owned()).collect();
        let id = |n: usize| events[n].id.to_string();
        assert_eq!(sent, [id(0), id(1), id(2), id(2), id(2), id(3)]);
    }
}
