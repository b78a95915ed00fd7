//! What reacts to the shop's events: a module a consumer, and [`groups`], which puts them together.

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

/// The settings of those consumers that have some.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub export: ExportSettings,
    pub notification: NotificationSettings,
    pub incident: IncidentSettings,
}

/// What consumers work with, and by what they wake those who wait in this process.
#[derive(Clone)]
pub struct Parts {
    pub db: Database,
    /// Where files are exported to.
    pub data_dir: PathBuf,
    /// Wakes notification streams.
    pub hub: Hub,
    /// Wakes requests that wait for their coupon.
    pub issuer_wake: IssuerWake,
}

/// What groups read besides the shop's own topics.
pub fn subscriptions(settings: &Settings) -> Vec<Subscription> {
    let export = data_platform::subscription(&settings.export);
    export.into_iter().chain(incident::subscription(&settings.incident)).collect()
}

/// Makes what [`groups`] makes of the settings, without a database. Nothing is connected.
///
/// # Errors
/// As [`groups`].
pub fn check(settings: &Settings) -> Result<(), SettingError> {
    data_platform::check(&settings.export)?;
    notification::check(&settings.notification)
}

/// All consumer groups of the shop; e-mail, webhooks and incidents only when they are configured.
///
/// # Errors
/// [`SettingError`] of a sink or a channel that is configured.
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
