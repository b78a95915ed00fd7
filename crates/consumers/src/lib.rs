//! Consumers of the shop's events: a module for each consumer, and [`groups`] with all consumer groups.

pub mod analytics;
pub mod coupon_history;
pub mod coupon_issuer;
pub mod data_platform;
pub mod delivery;
pub mod incident;
pub mod notification;
mod outbound;
pub mod replenishment;
pub mod settlement;

use program::settings::SettingError;
use std::path::PathBuf;

use db::Database;
use messaging::{Group, Subscription};

use coupon_issuer::IssuerWake;
use data_platform::ExportSettings;
use incident::IncidentSettings;
use notification::{Hub, NotificationSettings};

/// Settings of consumers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub export: ExportSettings,
    pub notification: NotificationSettings,
    pub incident: IncidentSettings,
}

/// Resources of consumers, and signals to waiting requests of this process.
#[derive(Clone)]
pub struct Parts {
    pub db: Database,
    /// Folder of exported files.
    pub data_dir: PathBuf,
    /// Wakes notification streams.
    pub hub: Hub,
    /// Wakes requests waiting for a coupon.
    pub issuer_wake: IssuerWake,
}

/// Returns the external topics that groups read, besides the shop's topics.
pub fn subscriptions(settings: &Settings) -> Vec<Subscription> {
    let export = data_platform::subscription(&settings.export);
    export.into_iter().chain(incident::subscription(&settings.incident)).collect()
}

/// Checks the settings like [`groups`], without a database and without connections.
///
/// # Errors
/// As [`groups`].
pub fn check(settings: &Settings) -> Result<(), SettingError> {
    data_platform::check(&settings.export)?;
    notification::check(&settings.notification)
}

/// Returns all consumer groups of the shop; e-mail, webhooks and incidents only if configured.
///
/// # Errors
/// [`SettingError`] of a configured sink or channel.
pub fn groups(settings: &Settings, parts: &Parts) -> Result<Vec<Group>, SettingError> {
    let mut groups = vec![
        data_platform::group(&settings.export, &parts.data_dir, &parts.db)?,
        notification::group(&parts.hub),
        coupon_issuer::group(parts.issuer_wake.clone()),
        coupon_history::group(),
        settlement::group(),
        delivery::group(),
        replenishment::group(),
        analytics::group(),
    ];
    groups.extend(notification::channels(&settings.notification, &parts.db)?);
    groups.extend(incident::group(&settings.incident));
    Ok(groups)
}
