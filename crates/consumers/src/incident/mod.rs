//! Incidents: failures that services report through an event proxy, for the attention of the admins.

mod model;
mod schema;
mod store;

use std::sync::Arc;

use contracts::events::IncidentOpened;
use db::Tx;
use messaging::{Event, Group, Handler, HandlerError, Replay, Start, Subscription, TransactionalHandler};
use serde::Deserialize;

pub use model::Incident;
pub use store::page;

/// The group's name.
pub const GROUP: &str = "incident";

/// The settings of incidents: section `incident`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentSettings {
    /// The topic with incidents from an event proxy, by the name on Kafka. No topic by default.
    pub topic: Option<String>,
}

/// Returns the subscription to the incidents; `None` without the setting.
pub fn subscription(settings: &IncidentSettings) -> Option<Subscription> {
    let topic = settings.topic.clone().filter(|topic| !topic.is_empty())?;
    Some(Subscription { group: GROUP, topics: vec![topic], prefix: None })
}

/// Opens an incident for each event; `None` unless a topic is set.
pub fn group(settings: &IncidentSettings) -> Option<Group> {
    subscription(settings).map(|_| Group {
        name: GROUP,
        topics: Vec::new(),
        replay: Replay::Resendable,
        start: Start::Floor,
        handler: Handler::Transactional(Arc::new(Opening)),
    })
}

/// Opens at most one incident for each event, also for repeats, and emits [`IncidentOpened`] for a new incident.
struct Opening;

impl TransactionalHandler for Opening {
    fn handle(&self, tx: &mut Tx<'_>, events: &[Event]) -> Result<(), HandlerError> {
        let now = tx.now()?;
        let incidents: Vec<Incident> = events.iter().map(|event| Incident::of(event, now)).collect::<Result<_, _>>()?;
        let opened = store::open(tx, &incidents)?;
        for (incident, event) in incidents.iter().zip(events).filter(|(incident, _)| opened.contains(&incident.id)) {
            let opened = IncidentOpened {
                incident_id: incident.id,
                kind: incident.kind.clone(),
                key: incident.key.clone(),
                reason: incident.reason.clone(),
                occurred_at: incident.occurred_at,
            };
            messaging::emit_because(tx, event, &opened)?;
        }
        Ok(())
    }
}
