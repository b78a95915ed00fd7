//! Rate limits, by member and by address (GCRA, with a burst).

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest, ResponseError};
use contracts::MemberId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use member::SessionId;
use rest::{client, directory};
use runtime::settings::RateLimitSettings;

use super::app::PREFIX;
use super::kinds;
use super::problem::Problem;
use crate::Storefront;

/// The rate limits of a shop; off without limits.
pub struct Limits {
    on: Option<On>,
    trust_forwarded: bool,
}

struct On {
    member: Limit<MemberId>,
    address: Limit<IpAddr>,
    /// Limit of requests with a password hash.
    credentials: Limit<IpAddr>,
    /// Of refreshes of tokens, which cost none.
    refreshes: Limit<SessionId>,
}

struct Limit<K: Clone + Hash + Eq>(DefaultKeyedRateLimiter<K>);

impl Limits {
    /// Builds the limits of the settings.
    pub fn new(settings: &RateLimitSettings, trust_forwarded: bool) -> Self {
        let on = settings.enabled.then(|| On {
            member: Limit::new(per_second(settings.member_per_second)),
            address: Limit::new(per_second(settings.address_per_second)),
            credentials: Limit::new(per_minute(settings.sign_ins_per_minute)),
            refreshes: Limit::new(per_minute(settings.refreshes_per_minute)),
        });
        Self { on, trust_forwarded }
    }

    /// # Errors
    /// `too-many-requests`
    pub fn member(&self, member: MemberId) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.member.check(&member))
    }

    /// Checks the limit of the address, for every request.
    ///
    /// # Errors
    /// `too-many-requests`
    fn address(&self, request: &HttpRequest) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.address.check(&self.client(request)))
    }

    /// Checks the limit of a route that checks or hashes a password.
    ///
    /// # Errors
    /// `too-many-requests`
    pub fn credentials(&self, request: &HttpRequest) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.credentials.check(&self.client(request)))
    }

    /// For a refresh of the tokens of a session. Many members may come from one address.
    ///
    /// # Errors
    /// `too-many-requests`
    pub fn refresh(&self, session: SessionId) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.refreshes.check(&session))
    }

    /// Returns the network of a request.
    pub fn client(&self, request: &HttpRequest) -> IpAddr {
        client::address(request, self.trust_forwarded)
    }

    /// Forgets quiet clients.
    pub fn tidy(&self) {
        if let Some(on) = &self.on {
            on.member.0.retain_recent();
            on.address.0.retain_recent();
            on.credentials.0.retain_recent();
            on.refreshes.0.retain_recent();
        }
    }
}

impl<K: Clone + Hash + Eq> Limit<K> {
    fn new(quota: Quota) -> Self {
        Self(RateLimiter::keyed(quota))
    }

    fn check(&self, key: &K) -> Result<(), Problem> {
        self.0.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Problem::new(&kinds::TOO_MANY_REQUESTS).retry_after(wait.max(Duration::from_secs(1)))
        })
    }
}

/// Returns a quota with a burst of two seconds.
fn per_second(rate: NonZeroU32) -> Quota {
    Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)))
}

fn per_minute(rate: NonZeroU32) -> Quota {
    Quota::per_minute(rate)
}

/// Middleware that refuses an address with too many requests.
pub async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // what is no route counts, too
    let is_outside = directory::matched(request.request()).is_some_and(|route| !route.is_under(PREFIX));
    let shop = request.app_data::<Data<Storefront>>().filter(|_| !is_outside);
    let admitted = shop.map_or(Ok(()), |shop| shop.limits.address(request.request()));
    match admitted {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(refusal) => Ok(request.into_response(refusal.error_response())),
    }
}
