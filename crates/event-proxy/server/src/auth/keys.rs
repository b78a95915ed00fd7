//! API keys: permission to post events of some services, with a quota.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use db::Database;
use db::text::Line;
use db::types::{Id, Time};
use garde::Validate;
use parking_lot::RwLock;
use rest::{Problem, kinds};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::auth::admin::Access;
use crate::auth::key_rows;
use crate::cluster::audit;
use crate::ingest::event::is_name;
use crate::ingest::quota::Quota;

/// Interval of reading the keys, so that changes by other proxies apply here: half of the promised delay.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of services bound to a key.
const MAX_SERVICES: usize = 100;

/// Rule for the name of a key.
const NAME: Line = Line::new(100, "must have 1 to 100 characters");

/// SHA-256 of a key.
pub(super) type Hash = [u8; 32];

/// Request for a new key.
#[derive(Debug, Deserialize, Validate, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Name for people, such as the owner.
    #[garde(custom(|name: &str, _: &()| NAME.kept(name).map(drop).map_err(garde::Error::new)))]
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Services with accepted events; all by default.
    #[garde(length(max = MAX_SERVICES), inner(custom(service)))]
    #[schema(max_items = 100)]
    #[serde(default)]
    pub services: Vec<String>,
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub events_per_second: Option<i64>,
    /// Limit of stored bytes of events.
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub bytes_per_second: Option<i64>,
}

/// A key, without the secret.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ApiKey {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id,
    pub name: String,
    /// Services with accepted events; empty: all.
    pub services: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Time,
    /// Time of the last rotation.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Time>,
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Time>,
}

/// A key with the secret text, which is never shown again.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ShownKey {
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// Secret for `Authorization: Bearer …`, or the password of Basic.
    pub key: String,
}

/// A key in force, for requests.
pub(super) struct Known {
    id: Id,
    pub(super) services: Vec<String>,
    pub(super) quota: Option<Quota>,
}

/// The keys of the control database, and the keys in force at the last read.
pub struct Keys {
    control: Database,
    known: RwLock<HashMap<Hash, Arc<Known>>>,
    /// Lock for one read at a time, so that an older read never overwrites a newer one.
    reading: Mutex<()>,
    away: AtomicBool,
}

impl Keys {
    /// Reads the keys.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn open(control: &Database) -> db::Result<Arc<Self>> {
        let (known, reading) = (RwLock::default(), Mutex::default());
        let keys = Self { control: control.clone(), known, reading, away: AtomicBool::new(false) };
        keys.renew().await?;
        Ok(Arc::new(keys))
    }

    /// Renews the keys, and the ended sessions of `admin`, until aborted. While the database is unavailable, the last
    /// known keys are in force.
    pub fn keep_renewing(self: &Arc<Self>, admin: Arc<Access>) -> JoinHandle<()> {
        let keys = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                let was_away = keys.are_old();
                let renewed = match keys.renew().await {
                    Ok(()) => admin.renew().await,
                    away => away,
                };
                match renewed {
                    Err(error) if !was_away => tracing::warn!(%error, "the control database is away"),
                    Ok(()) if was_away => tracing::info!("the control database is back"),
                    _ => {}
                }
            }
        })
    }

    /// Returns true if the control database could not be read the last time.
    pub fn are_old(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Returns all keys ever made, the newest first.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn list(&self) -> db::Result<Vec<ApiKey>> {
        self.control.read(key_rows::all).await
    }

    /// Creates a key.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn create(&self, who: &str, new: NewKey) -> Result<ShownKey, Problem> {
        let (key, hash) = new_key();
        let wrong = |rule| Problem::new(&kinds::INVALID_REQUEST).field("name", rule);
        let new = NewKey { name: NAME.kept(&new.name).map_err(wrong)?, ..new };
        let (who, id, detail) = (who.to_owned(), Id::new(), described(&new));
        let created = self.control.write(move |tx| {
            let created = key_rows::insert(tx, id, &hash, &new)?;
            audit::record(tx, &who, "api-key.create", &id.to_string(), &detail)?;
            Ok::<_, db::Error>(created)
        });
        self.shown(created.await?, key).await
    }

    /// Replaces the key's secret; the old secret is refused from now on.
    ///
    /// # Errors
    /// `not-found`, also for a revoked key, and errors of the database.
    pub async fn rotate(&self, who: &str, id: Id) -> Result<ShownKey, Problem> {
        let (key, hash) = new_key();
        let who = who.to_owned();
        let rotated = self.control.write(move |tx| {
            let Some(rotated) = key_rows::rotate(tx, id, &hash)? else { return Ok(None) };
            audit::record(tx, &who, "api-key.rotate", &id.to_string(), &rotated.name)?;
            Ok::<_, db::Error>(Some(rotated))
        });
        let rotated = rotated.await?.ok_or_else(|| Problem::not_found("API key in force"))?;
        self.shown(rotated, key).await
    }

    /// Revokes the key: it is refused from now on.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub async fn revoke(&self, who: &str, id: Id) -> Result<(), Problem> {
        let who = who.to_owned();
        let revoked = self.control.write(move |tx| {
            let Some(revoked) = key_rows::revoke(tx, id)? else { return Ok(None) };
            audit::record(tx, &who, "api-key.revoke", &id.to_string(), &revoked.name)?;
            Ok::<_, db::Error>(Some(()))
        });
        revoked.await?.ok_or_else(|| Problem::not_found("API key in force"))?;
        self.changed().await;
        Ok(())
    }

    async fn shown(&self, api_key: ApiKey, key: String) -> Result<ShownKey, Problem> {
        self.changed().await;
        Ok(ShownKey { api_key, key })
    }

    /// Applies a change of this proxy at once. The change is committed: after a failed read the next renewal applies
    /// it.
    async fn changed(&self) {
        if let Err(error) = self.renew().await {
            tracing::warn!(%error, "the keys could not be read again after a change");
        }
    }

    async fn renew(&self) -> db::Result<()> {
        let _turn = self.reading.lock().await;
        let read = self.control.read(key_rows::in_force).await;
        self.away.store(read.is_err(), Ordering::Relaxed);
        let read = read?;
        let mut known = self.known.write();
        // what is used of its quota goes on counting, whatever its key is now
        let mut before: HashMap<Id, Arc<Known>> = known.drain().map(|(_, key)| (key.id, key)).collect();
        for (hash, key) in read {
            let Ok(hash) = hash.try_into() else { continue };
            known.insert(hash, before.remove(&key.id).unwrap_or_else(|| Arc::new(key.into())));
        }
        Ok(())
    }

    /// Returns the key in force for this secret text.
    pub(super) fn find(&self, key: &str) -> Option<Arc<Known>> {
        // found by its hash: how long that takes tells nothing of the key
        let hash: Hash = Sha256::digest(key).into();
        self.known.read().get(&hash).cloned()
    }
}

impl From<ApiKey> for Known {
    fn from(key: ApiKey) -> Self {
        let quota = Quota::new(key.events_per_second, key.bytes_per_second);
        Self { id: key.id, services: key.services, quota }
    }
}

impl Known {
    pub(super) fn may(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.iter().any(|known| known == service)
    }
}

/// Returns a secret of 256 random bits, and the stored hash.
fn new_key() -> (String, Hash) {
    let key = format!("ep_{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let hash = Sha256::digest(&key).into();
    (key, hash)
}

/// Describes the key for the audit log.
fn described(new: &NewKey) -> String {
    let services = if new.services.is_empty() { "all services".to_owned() } else { new.services.join(", ") };
    let events = new.events_per_second.map(|rate| format!("; {rate} events/s"));
    let bytes = new.bytes_per_second.map(|rate| format!("; {rate} bytes/s"));
    format!("{}: {services}{}{}", new.name, events.unwrap_or_default(), bytes.unwrap_or_default())
}

fn service(name: &str, _: &()) -> garde::Result {
    if is_name(name) { Ok(()) } else { Err(garde::Error::new("must be 1 to 64 letters, digits, _ or -")) }
}
