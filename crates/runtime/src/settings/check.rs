//! Checks of settings beyond the types.

use consumers::data_platform::{self, EXPORTS, SinkKind};
use contracts::topics;
use messaging::MAX_PARTITIONS;
use program::settings::{SettingError, expect, good_password, is_host, positive, readable_secrets, writable_folder};
use rest::threads;

use super::Settings;
use crate::buses::Buses;
use crate::shop::TOKEN_SECRET;

/// Minimum length of the token secret, against guessing.
const SECRET_BYTES: usize = 32;

impl Settings {
    /// # Errors
    /// The first invalid setting.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        self.check_bus()?;
        self.check_host()?;
        expect("data_dir", !self.data_dir.as_os_str().is_empty(), "expected a folder")?;
        expect("http.body_limit", self.http.body_limit.0 > 0, "expected more than 0")?;
        self.http.limits.check(self.http.body_limit.0)?;
        threads::check(self.http.workers)?;
        positive("http.shutdown_timeout", self.http.shutdown_timeout)?;
        for origin in &self.http.cors_origins {
            let reason = format!("expected * or origins like https://shop.example, got {origin:?}");
            expect("http.cors_origins", origin == "*" || is_origin(origin), &reason)?;
        }
        let partitions = self.events.partitions.get();
        let is_good = partitions <= MAX_PARTITIONS as u32;
        expect("events.partitions", is_good, &format!("expected 1 to {MAX_PARTITIONS}, got {partitions}"))?;
        positive("events.retention", self.events.retention)?;
        let email = &self.admin.email;
        expect(
            "admin.email",
            member::checked_email(email).is_ok(),
            &format!("expected an e-mail address, got {email:?}"),
        )?;
        good_password("admin.password", &self.admin.password)?;
        let secret = self.auth.token_secret.expose();
        let long_enough = secret.is_empty() || secret.len() >= SECRET_BYTES;
        expect("auth.token_secret", long_enough, "expected at least 32 characters")?;
        positive("auth.access_ttl", self.auth.access_ttl)?;
        positive("auth.refresh_ttl", self.auth.refresh_ttl)?;
        expect("auth.refresh_ttl", self.auth.refresh_ttl >= self.auth.access_ttl, "expected no less than access_ttl")?;
        self.shop.zone()?;
        self.currency.currency()?;
        positive("order.expires_after", self.order.expires_after)?;
        // with fewer, a client that waits as told comes back too late for its old token
        let refreshes = self.rate_limit.refreshes_per_minute.get();
        let reason = format!("expected 3 or more, got {refreshes}");
        expect("rate_limit.refreshes_per_minute", refreshes >= 3, &reason)?;
        self.event_proxy.check()?;
        self.telemetry.check()?;
        self.log.check()
    }

    /// Checks everything that the start refuses, files included. Connects to nothing, and leaves nothing on disk.
    ///
    /// # Errors
    /// The first unusable setting.
    pub fn check_start(&self) -> Result<(), SettingError> {
        self.event_proxy.start()?;
        consumers::check(&self.of_consumers())?;
        let key = if self.database.url.is_some() { "database.url" } else { "data_dir" };
        self.database_url().check(key)?;
        let made = if self.auth.token_secret.is_empty() { &[TOKEN_SECRET][..] } else { &[] };
        readable_secrets(&self.data_dir, made)
    }

    /// Checks `data_dir` if the process writes there: a token secret if `signs`, exported files if `hosts` includes
    /// the export.
    ///
    /// # Errors
    /// `data_dir`
    pub fn check_data_dir(&self, signs: bool, hosts: impl Fn(&str) -> bool) -> Result<(), SettingError> {
        let makes_secret = signs && self.auth.token_secret.is_empty();
        let exports = self.export.sink == SinkKind::Files && hosts(data_platform::GROUP);
        if makes_secret || exports {
            writable_folder("data_dir", &self.data_dir)?;
        }
        if exports { writable_folder("data_dir", &self.data_dir.join(EXPORTS)) } else { Ok(()) }
    }

    fn check_bus(&self) -> Result<(), SettingError> {
        for topic in self.bus.topics.keys() {
            let known = format!("there is no such topic, but {}", topics::ALL.join(", "));
            expect(&format!("bus.topics.{topic}"), topics::ALL.contains(&topic.as_str()), &known)?;
        }
        self.bus.kafka.check()?;
        self.check_others()?;
        Buses::new(self).map(drop)
    }

    fn check_others(&self) -> Result<(), SettingError> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let exported = self.export.proxy_topics.iter().map(|topic| ("export.proxy_topics", topic));
        for (setting, topic) in exported.chain(self.incident.topic.iter().map(|topic| ("incident.topic", topic))) {
            let reason = format!("expected names of letters, digits, dots, dashes and underscores, got {topic:?}");
            expect(setting, topic.chars().all(known), &reason)?;
            let is_own =
                topics::ALL.iter().any(|own| topic == own || *topic == format!("{}{own}", self.bus.kafka.prefix));
            let reason = format!("{topic} is a topic of the shop, not of an event proxy");
            expect(setting, !is_own, &reason)?;
        }
        let prefix = self.export.proxy_prefix.as_deref().unwrap_or_default();
        let reason = format!("expected letters, digits, dots, dashes and underscores, got {prefix:?}");
        expect("export.proxy_prefix", prefix.chars().all(known), &reason)
    }

    fn check_host(&self) -> Result<(), SettingError> {
        let alone = "must be true with SQLite, whose file belongs to one process: no other could do it";
        let shared = self.database_url().is_shared();
        expect("host.consumers", shared || self.host.consumers, alone)?;
        expect("host.relay", shared || self.host.relay, alone)
    }
}

/// Returns true for an origin in the form of browsers: in lower case and ASCII, without a default port.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_default = matches!((scheme, host.rsplit_once(':')), ("http", Some((_, "80"))) | ("https", Some((_, "443"))));
    let is_written_so = host.chars().all(|c| known(c) || ".-_:[]".contains(c));
    !scheme.is_empty() && scheme.chars().all(known) && is_host(host) && is_written_so && !is_default
}
