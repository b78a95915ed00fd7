//! Tokens for SASL OAUTHBEARER. librdkafka could fetch them itself, one for each client, where it is built with libcurl.
//! Ours are shared by all clients, and are there before a client connects, whether somebody polls it or not.

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

use crate::client::BadProperty;
use crate::sign_in::{Bearer, Source};

/// How long the first token may take. After that clients are told so, and it is tried again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts when none is had.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What says who we are, always a good one; fetched anew before it expires.
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
    /// As the options say; `None` when they ask for none. The properties that are ours are taken out.
    pub(crate) fn new(
        properties: &mut BTreeMap<String, String>,
        aws_iam_region: Option<&str>,
    ) -> Result<Option<Self>, BadProperty> {
        let source = Source::new(properties, aws_iam_region)?;
        Ok(source.map(|source| Self { source: Arc::new(source), started: Once::new(), known: Arc::default() }))
    }

    /// What clients have to be told besides.
    pub(crate) fn properties(&self) -> &'static [(&'static str, &'static str)] {
        self.source.properties()
    }

    /// What they depend on.
    pub(crate) fn names(&self) -> &'static str {
        self.source.names()
    }

    /// One that is good for a while; waits for the first, and from then on for none.
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

    /// Has a client connect with it.
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

    /// On a thread of its own, for clients ask on threads that must not wait. It ends after the last clone of the
    /// cluster, when it would fetch another.
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

/// By both clocks: tokens run out by the one that may be set, and goes on while the machine is suspended.
async fn wait(pause: Duration) {
    let (begun, until) = (Instant::now(), SystemTime::now() + pause);
    while begun.elapsed() < pause && SystemTime::now() < until {
        sleep(LOOK_EVERY.min(pause)).await;
    }
}

impl Known {
    /// How long to wait with the next. A token that is good is kept when none is had.
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
