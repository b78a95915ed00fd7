//! Notifications: in the app, by mail and by webhook. Each channel is a group of its own, so that one that is down
//! holds up nothing else.

mod email;
mod hub;
mod in_app;
mod model;
mod settings;
mod store;
mod webhook;

use std::sync::Arc;

use contracts::topics;
use db::Database;
use messaging::{Group, Handler, Replay, Start};

pub use hub::{Hub, Listener};
pub use model::{Notification, NotificationKind};
pub use settings::{EmailSettings, NotificationSettings, SmtpSecurity, WebhookSettings};
pub use store::{after, last_number, mark_read, page};

use program::settings::SettingError;

/// What somebody is told of.
pub const TOPICS: [&str; 6] = [
    topics::PAYMENT_COMPLETED,
    topics::COUPON_ISSUED,
    topics::ORDER_CANCELLED,
    topics::DELIVERY_CHANGED,
    topics::STOCK_LOW,
    topics::INCIDENT_OPENED,
];

fn named(name: &'static str, handler: Handler) -> Group {
    Group { name, topics: TOPICS.to_vec(), replay: Replay::Once("nobody is told twice"), start: Start::Now, handler }
}

/// The group `notification`: in the app. It wakes the streams of `hub`.
pub fn group(hub: &Hub) -> Group {
    named("notification", Handler::Transactional(Arc::new(in_app::InApp::new(hub.clone()))))
}

/// # Errors
/// As [`channels`].
pub(crate) fn check(settings: &NotificationSettings) -> Result<(), SettingError> {
    email::way(&settings.email)?;
    webhook::way(&settings.webhook).map(drop)
}

/// The groups `notification-email` and `notification-webhook`, as far as they are configured.
///
/// # Errors
/// [`SettingError`] of a channel that is configured.
pub fn channels(settings: &NotificationSettings, db: &Database) -> Result<Vec<Group>, SettingError> {
    let mut groups = Vec::new();
    if let Some(email) = email::Email::new(&settings.email, db.clone())? {
        groups.push(named("notification-email", Handler::Effect(Arc::new(email))));
    }
    if let Some(webhook) = webhook::Webhook::new(&settings.webhook, db.clone())? {
        groups.push(named("notification-webhook", Handler::Effect(Arc::new(webhook))));
    }
    Ok(groups)
}
