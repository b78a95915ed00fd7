//! Identity of a request's caller, by the API key.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};
use rest::Problem;

use crate::Proxy;
use crate::auth::admin::{Admin, basic, is_of_another_site};
use crate::auth::keys::Known;
use crate::http::problems;
use crate::ingest::event::{Entry, Refusal};
use crate::ingest::quota::{Cost, Exceeded};
use crate::settings::TopicSettings;

/// Caller that posts events, or asks about events. A sent key must be right, even where no key is required.
pub(crate) struct Caller {
    /// API key; `None` without a required or sent key.
    key: Option<Arc<Known>>,
}

impl Caller {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let proxy = request.app_data::<Data<Proxy>>().ok_or_else(|| Problem::internal("no proxy"))?;
        let unauthorized = |detail: &str| Problem::new(&problems::UNAUTHORIZED).detail(detail);
        let key = match sent(request) {
            Some(key) => {
                let wrong = || unauthorized("the API key is wrong, or revoked");
                Some(proxy.keys.find(&key).ok_or_else(wrong)?)
            }
            None if proxy.settings.keys_required() => {
                return Err(unauthorized("send an API key: Authorization: Bearer …, or as the password of Basic"));
            }
            None => None,
        };
        if let Some(key) = &key {
            request.extensions_mut().insert(key.clone());
        }
        Ok(Self { key })
    }

    /// Returns true if the topic takes events of a service of the caller.
    pub(crate) fn may_see(&self, topics: &TopicSettings, topic: &str) -> bool {
        let Some(key) = self.key.as_ref().filter(|key| !key.services.is_empty()) else { return true };
        key.services.iter().any(|service| topics.is_of(service, topic))
    }

    /// Refuses events of other services than the caller's, and charges the rest to the quota: all of the rest, or
    /// nothing. If the log takes none of the events, call [`give_back`](Self::give_back).
    ///
    /// # Errors
    /// If too much of the quota is used up.
    pub(crate) fn admit(&self, entries: &mut [Result<Entry, Refusal>]) -> Result<Cost, Exceeded> {
        let mut cost = Cost::default();
        let Some(key) = &self.key else { return Ok(cost) };
        for entry in entries {
            match entry {
                Ok(taken) if key.may(&taken.service) => {
                    cost.events += 1;
                    cost.bytes += taken.payload.len() as u64;
                }
                Ok(other) => {
                    let problem = not_allowed(&other.service);
                    *entry = Err(Refusal { service: Some(std::mem::take(&mut other.service)), problem });
                }
                Err(_) => {}
            }
        }
        key.quota.as_ref().map_or(Ok(()), |quota| quota.take(cost, Instant::now()))?;
        Ok(cost)
    }

    /// Gives back the cost of events that the log did not take.
    pub(crate) fn give_back(&self, cost: Cost) {
        if let Some(quota) = self.key.as_ref().and_then(|key| key.quota.as_ref()) {
            quota.give_back(cost);
        }
    }
}

fn not_allowed(service: &str) -> Problem {
    Problem::new(&problems::SERVICE_NOT_ALLOWED).detail(format_args!("the API key is not for the service {service}"))
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// Reader of figures: a [`Caller`] reads the caller's own figures, the admin all figures.
pub(crate) struct Reader(pub(crate) Caller);

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_admin = request.app_data::<Data<Proxy>>().is_some_and(|proxy| proxy.admin.is_asked_for(request));
        if is_admin {
            let admin = Admin::from_request(request, payload);
            return Box::pin(async move { admin.await.map(|_| Self(Caller { key: None })) });
        }
        let caller = Caller::of(request).map(Self);
        Box::pin(ready(caller))
    }
}

/// The key that a request shows: as Bearer, or as the password of Basic.
fn sent(request: &HttpRequest) -> Option<String> {
    let headers = request.headers();
    if let Some((name, password)) = basic(headers).filter(|_| !is_of_another_site(headers)) {
        // `curl -u KEY:`
        return Some(if password.is_empty() { name } else { password });
    }
    let sent = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    // without a key it is a wrong key, not none
    let (scheme, key) = sent.split_once(' ').unwrap_or((sent, ""));
    ["bearer", "basic"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| key.trim().to_owned())
}

/// Middleware that adds the remaining quota to each answer to a caller with a quota.
///
/// # Errors
/// Errors of the application.
pub(crate) async fn tell_quota(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    let key = response.request().extensions().get::<Arc<Known>>().cloned();
    if let Some(quota) = key.as_ref().and_then(|key| key.quota.as_ref()) {
        let told = quota.told(Instant::now());
        for (name, value) in [("ratelimit-policy", told.policy), ("ratelimit", told.left)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
    }
    Ok(response)
}
