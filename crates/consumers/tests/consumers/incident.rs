use consumers::incident::{Incident, IncidentSettings, group, page};
use contracts::events::IncidentOpened;
use db::types::Id;
use messaging::{Event, Group};

use super::given::{Given, databases, time};

fn incidents() -> Group {
    group(&IncidentSettings { topic: Some("order.payment-failed".into()) }).expect("it is set")
}

fn failed(key: &str, payload: &str) -> Event {
    Event {
        id: Id::new(),
        source: Id::new(),
        kind: "order.payment-failed".into(),
        version: 1,
        key: key.into(),
        occurred_at: time("2026-11-22T10:00:00Z"),
        payload: payload.into(),
        ..Event::skipped("order.payment-failed".into(), 0, 7)
    }
}

async fn all(given: &Given) -> Vec<Incident> {
    given.read(|conn| page(conn, None, 100)).await
}

#[tokio::test]
async fn each_event_opens_one_incident_however_often_it_comes() {
    for given in databases().await {
        let first = failed("order-17", r#"{"service":"order","data":{"error":"card expired"}}"#);
        let second = failed("order-18", r#"{"service":"order","data":{"reason":"no\u0000 answer","error":"x"}}"#);
        given.handle(incidents(), vec![first.clone(), first.clone()]).await;
        given.handle_and_roll_back(incidents(), vec![second.clone()]).await;
        given.handle(incidents(), vec![first.clone(), second.clone(), first.clone()]).await;
        let opened = all(&given).await;
        let shown: Vec<_> = opened.iter().map(|it| (it.event_id, it.key.as_str(), it.reason.as_deref())).collect();
        let expected = [(second.id, "order-18", Some("no answer")), (first.id, "order-17", Some("card expired"))];
        assert_eq!(shown, expected, "{}", given.name);
        assert_eq!((&opened[1].event.0, &*opened[1].topic), (&first.payload, "order.payment-failed"));
        let told = given.emitted::<IncidentOpened>();
        let told: Vec<_> = told.into_iter().map(|told| (told.incident_id, told.key)).collect();
        let ids = |n: usize| (opened[n].id, opened[n].key.clone());
        assert_eq!(told, [ids(1), ids(0)], "{}", given.name);
    }
}

#[tokio::test]
async fn a_service_may_say_less() {
    for given in databases().await {
        for payload in ["{}", r#"{"data":"text"}"#, r#"{"data":{"error":17}}"#] {
            given.handle(incidents(), vec![failed("k", payload)]).await;
        }
        assert!(all(&given).await.iter().all(|incident| incident.reason.is_none()));
        assert_eq!(all(&given).await.len(), 3);
        let refused = given.try_handle(incidents(), vec![failed("k", "not JSON")]).await.unwrap_err();
        assert!(refused.0.contains("order.payment-failed: no JSON object"), "{}", refused.0);
    }
}

#[test]
fn without_a_topic_there_is_no_group() {
    assert!(group(&IncidentSettings::default()).is_none());
    assert!(group(&IncidentSettings { topic: Some(String::new()) }).is_none());
}
