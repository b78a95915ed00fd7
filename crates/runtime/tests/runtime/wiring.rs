//! Each pair of topic and consumer of the design is wired, and nothing else is.

use std::collections::BTreeSet;

use consumers::coupon_issuer::IssuerWake;
use consumers::notification::Hub;
use consumers::{Parts, groups};
use contracts::topics::*;
use messaging::{Handler, Replay, Start};

/// Group, topic.
const WIRED: &[(&str, &str)] = &[
    ("data-platform", PAYMENT_COMPLETED),
    ("data-platform", PAYMENT_REFUNDED),
    ("data-platform", ORDER_CREATED),
    ("data-platform", ORDER_CANCELLED),
    ("notification", PAYMENT_COMPLETED),
    ("notification", COUPON_ISSUED),
    ("notification", ORDER_CANCELLED),
    ("notification", DELIVERY_CHANGED),
    ("notification", STOCK_LOW),
    ("notification", INCIDENT_OPENED),
    ("notification-email", PAYMENT_COMPLETED),
    ("notification-email", COUPON_ISSUED),
    ("notification-email", ORDER_CANCELLED),
    ("notification-email", DELIVERY_CHANGED),
    ("notification-email", STOCK_LOW),
    ("notification-email", INCIDENT_OPENED),
    ("notification-webhook", PAYMENT_COMPLETED),
    ("notification-webhook", COUPON_ISSUED),
    ("notification-webhook", ORDER_CANCELLED),
    ("notification-webhook", DELIVERY_CHANGED),
    ("notification-webhook", STOCK_LOW),
    ("notification-webhook", INCIDENT_OPENED),
    ("coupon-issuer", COUPON_ISSUE_REQUESTED),
    ("coupon-history", COUPON_ISSUED),
    ("coupon-history", COUPON_USED),
    ("coupon-history", COUPON_RETURNED),
    ("settlement", PAYMENT_COMPLETED),
    ("settlement", PAYMENT_REFUNDED),
    ("delivery", ORDER_CREATED),
    ("delivery", PAYMENT_COMPLETED),
    ("delivery", ORDER_CANCELLED),
    ("delivery", PAYMENT_REFUNDED),
    ("replenishment", STOCK_DEDUCTED),
    ("analytics", ORDER_CREATED),
    ("analytics", PAYMENT_COMPLETED),
    ("analytics", PAYMENT_REFUNDED),
    ("analytics", COUPON_ISSUED),
];

/// Group, whether it changes the shop's own state, what a reset does, where it begins.
const KINDS: &[(&str, &str, &str, Start)] = &[
    ("data-platform", "effect", "resendable", Start::Floor),
    ("notification", "transactional", "once", Start::Now),
    ("notification-email", "effect", "once", Start::Now),
    ("notification-webhook", "effect", "once", Start::Now),
    ("coupon-issuer", "transactional", "once", Start::Floor),
    ("incident", "transactional", "resendable", Start::Floor),
    ("coupon-history", "transactional", "rebuildable", Start::Floor),
    ("settlement", "transactional", "rebuildable", Start::Floor),
    ("delivery", "transactional", "once", Start::Floor),
    ("replenishment", "transactional", "once", Start::Floor),
    ("analytics", "transactional", "rebuildable", Start::Floor),
];

async fn all_groups(configured: bool) -> Vec<messaging::Group> {
    let database = testkit::databases().await.remove(0);
    let mut settings = consumers::Settings::default();
    if configured {
        settings.incident.topic = Some("order.payment-failed".into());
        settings.notification.email.host = Some("localhost".into());
        settings.notification.webhook.url = Some("http://localhost/hook".into());
        settings.notification.webhook.secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".into();
    }
    let parts = Parts {
        db: database.db.clone(),
        data_dir: "unused".into(),
        hub: Hub::new(),
        issuer_wake: IssuerWake::default(),
    };
    groups(&settings, &parts).unwrap()
}

#[tokio::test]
async fn each_topic_reaches_the_consumers_of_the_design() {
    let groups = all_groups(true).await;
    let wired: BTreeSet<_> =
        groups.iter().flat_map(|group| group.topics.iter().map(|topic| (group.name, *topic))).collect();
    assert_eq!(wired, WIRED.iter().copied().collect());
}

#[tokio::test]
async fn each_group_is_of_the_kind_of_the_design() {
    for group in all_groups(true).await {
        let handler = match group.handler {
            Handler::Transactional(_) => "transactional",
            Handler::Effect(_) => "effect",
        };
        let replay = match group.replay {
            Replay::Rebuildable(_) => "rebuildable",
            Replay::Resendable => "resendable",
            Replay::Once(_) => "once",
        };
        assert!(KINDS.contains(&(group.name, handler, replay, group.start)), "{} {handler} {replay}", group.name);
    }
}

#[tokio::test]
async fn mail_webhooks_and_incidents_have_a_group_only_when_they_are_configured() {
    let names: Vec<_> = all_groups(false).await.iter().map(|group| group.name).collect();
    assert_eq!(names.len(), KINDS.len() - 3);
    assert!(!names.iter().any(|name| name.starts_with("notification-") || *name == "incident"), "{names:?}");
}
