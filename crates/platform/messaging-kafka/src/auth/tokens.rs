//! Tokens for SASL OAUTHBEARER. librdkafka with libcurl could fetch tokens, one for each client. These tokens are
//! shared by all clients, and are ready before a client connects, with or without a poll.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::ptr;
use std::sync::{Arc, Once, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use rdkafka::ClientContext;
use rdkafka::bindings::{rd_kafka_oauthbearer_set_token, rd_kafka_resp_err_t};
use rdkafka::client::{Client, OAuthToken};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::auth::{Bearer, Source};
use crate::connection::BadProperty;

/// Time-out of the first token. After the time-out, clients get an error, and the fetch is repeated.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failed fetch.
const PAUSE: Duration = Duration::from_secs(2);
/// Interval of clock checks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Token that is always valid; renewed before the expiry.
pub(crate) struct Tokens {
    source: Arc<Source>,
    started: Once,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    last: Mutex<Option<Result<Bearer, String>>>,
    told: Condvar,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive() // they are secret
    }
}

impl Tokens {
    /// Builds the tokens of the options; returns `None` without a token option. Takes the token options out of the
    /// properties.
    pub(crate) fn new(
        properties: &mut BTreeMap<String, String>,
        aws_iam_region: Option<&str>,
    ) -> Result<Option<Self>, BadProperty> {
        let source = Source::new(properties, aws_iam_region)?;
        Ok(source.map(|source| Self { source: Arc::new(source), started: Once::new(), known: Arc::default() }))
    }

    /// Returns additional properties for clients.
    pub(crate) fn properties(&self) -> &'static [(&'static str, &'static str)] {
        self.source.properties()
    }

    /// Returns the names of the settings in use.
    pub(crate) fn names(&self) -> &'static str {
        self.source.names()
    }

    /// Returns a valid token; waits only for the first token.
    pub(crate) fn current(&self) -> Result<OAuthToken, String> {
        self.started.call_once(|| self.start());
        let mut last = self.known.last.lock();
        self.known.told.wait_while_for(&mut last, |last| last.is_none(), PATIENCE);
        let bearer = last.clone().unwrap_or_else(|| Err(self.source.says("no answer in time")))?;
        let expires = bearer.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(OAuthToken {
            token: bearer.token,
            principal_name: "jangteo".into(), // the brokers read it from the token
            lifetime_ms: i64::try_from(expires.as_millis()).unwrap_or(i64::MAX),
        })
    }

    /// Sets the token in a client.
    pub(crate) fn hand_to<C: ClientContext>(&self, client: &Client<C>) -> Result<(), String> {
        let token = self.current()?;
        let text = |text: String| CString::new(text).map_err(|error| error.to_string());
        let (value, principal) = (text(token.token)?, text(token.principal_name)?);
        let mut said = [0_u8; 256];
        // rdkafka does so only for clients that are polled, which those for administration never are
        // SAFETY: the client and all texts outlive the call, and the answer ends with a zero in `said`
        #[allow(unsafe_code)]
        let code = unsafe {
            rd_kafka_oauthbearer_set_token(
                client.native_ptr(),
                value.as_ptr(),
                token.lifetime_ms,
                principal.as_ptr(),
                ptr::null_mut(),
                0,
                said.as_mut_ptr().cast(),
                said.len(),
            )
        };
        if code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        let said = said.split(|byte| *byte == 0).next().unwrap_or_default();
        Err(self.source.says(&String::from_utf8_lossy(said)))
    }

    /// Starts a thread for fetching, because clients ask on threads that must not wait. The thread ends at the first
    /// fetch after the drop of the last clone.
    fn start(&self) {
        let (source, known) = (self.source.clone(), Arc::downgrade(&self.known));
        let runtime = Builder::new_current_thread().enable_all().build();
        let started = runtime.and_then(|runtime| {
            let renewing = move || runtime.block_on(renew(&source, &known));
            thread::Builder::new().name("kafka-tokens".into()).spawn(renewing)
        });
        if let Err(error) = started {
            self.known.note(Err(self.source.says(&error.to_string())));
        }
    }
}

async fn renew(source: &Source, known: &Weak<Known>) {
    let mut failures = 0_u32;
    loop {
        let fetched = source.fetch().await;
        failures = if fetched.is_ok() { 0 } else { failures + 1 };
        let Some(pause) = known.upgrade().map(|known| known.note(fetched)) else { return };
        wait(pause.saturating_mul(1 << failures.saturating_sub(1).min(5))).await;
    }
}

/// Waits by both clocks: tokens expire by the adjustable clock, which also runs while the machine is suspended.
async fn wait(pause: Duration) {
    let (begun, until) = (Instant::now(), SystemTime::now() + pause);
    while begun.elapsed() < pause && SystemTime::now() < until {
        sleep(LOOK_EVERY.min(pause)).await;
    }
}

impl Known {
    /// Keeps a fetched token and returns the pause before the next fetch. A failed fetch keeps a valid token.
    fn note(&self, fetched: Result<Bearer, String>) -> Duration {
        let mut last = self.last.lock();
        let left = |bearer: &Bearer| bearer.expires.duration_since(SystemTime::now()).unwrap_or_default();
        let pause = fetched.as_ref().map_or(PAUSE, |bearer| (left(bearer) * 2 / 3).max(PAUSE)); // clients ask at 4/5
        match (&*last, &fetched) {
            (Some(Ok(good)), Err(reason)) if !left(good).is_zero() => {
                tracing::warn!(reason, "no new token for Kafka; the last one is still good");
            }
            _ => *last = Some(fetched),
        }
        self.told.notify_all();
        pause
    }
}
