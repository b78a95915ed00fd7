//! Each pair of topic and consumer of the design is wired, and nothing else is.

use std::collections::BTreeSet;

use consumers::coupon_issuer::IssuerWake;
use consumers::notification::Hub;
use consumers::{Parts, groups};
use messaging::{Handler, Replay, Start};
use runtime::programs::{Worker, WorkerGroup};

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
    let listed: BTreeSet<_> =
        listed().flat_map(|group| group.topics.iter().map(|topic| (group.name.as_str(), topic.as_str()))).collect();
    assert_eq!(wired, listed);
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
        let start = match group.start {
            Start::Now => "latest",
            Start::Floor | Start::Relayed => "earliest",
        };
        let listed = listed().find(|listed| listed.name == group.name).expect("a worker hosts each group");
        assert_eq!((handler, replay, start), (&*listed.kind, &*listed.reset, &*listed.start), "{}", group.name);
    }
}

#[tokio::test]
async fn each_group_has_one_worker() {
    let groups = all_groups(true).await;
    let mut listed: Vec<_> = listed().map(|group| group.name.as_str()).collect();
    let mut known: Vec<_> = groups.iter().map(|group| group.name).collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn each_worker_has_groups_or_is_the_relay() {
    for worker in Worker::all() {
        assert_eq!(worker.relay, worker.groups.is_empty(), "{}", worker.name);
    }
    assert_eq!(Worker::all().iter().filter(|worker| worker.relay).count(), 1);
}

#[tokio::test]
async fn mail_webhooks_and_incidents_have_a_group_only_when_they_are_configured() {
    let names: BTreeSet<_> = all_groups(false).await.iter().map(|group| group.name).collect();
    let always: BTreeSet<_> =
        listed().filter(|group| group.setting.is_none()).map(|group| group.name.as_str()).collect();
    assert_eq!(names, always);
    assert!(listed().filter(|group| group.setting.is_some()).count() >= 3);
}

/// Returns all groups of `deploy/programs.toml`.
fn listed() -> impl Iterator<Item = &'static WorkerGroup> {
    Worker::all().iter().flat_map(|worker| &worker.groups)
}
