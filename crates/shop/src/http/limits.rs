//! Rate limits, by member and by address (GCRA, with a burst).

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderName;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest, ResponseError};
use contracts::MemberId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use runtime::settings::RateLimitSettings;

use super::kinds;
use super::problem::Problem;
use crate::Storefront;

/// The limits of a shop; none when they are off.
pub struct Limits {
    on: Option<On>,
    trust_forwarded: bool,
}

struct On {
    member: Limit<MemberId>,
    address: Limit<IpAddr>,
    /// Of what costs a password hash.
    credentials: Limit<IpAddr>,
}

struct Limit<K: Clone + Hash + Eq>(DefaultKeyedRateLimiter<K>);

impl Limits {
    /// As the settings say.
    pub fn new(settings: &RateLimitSettings, trust_forwarded: bool) -> Self {
        let on = settings.enabled.then(|| On {
            member: Limit::new(per_second(settings.member_per_second)),
            address: Limit::new(per_second(settings.address_per_second)),
            credentials: Limit::new(per_minute(settings.sign_ins_per_minute)),
        });
        Self { on, trust_forwarded }
    }

    /// # Errors
    /// `too-many-requests`
    pub fn member(&self, member: MemberId) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.member.check(&member))
    }

    /// # Errors
    /// `too-many-requests`
    pub fn address(&self, address: IpAddr) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.address.check(&address))
    }

    /// For a route that checks or makes a password.
    ///
    /// # Errors
    /// `too-many-requests`
    pub fn credentials(&self, request: &HttpRequest) -> Result<(), Problem> {
        self.on.as_ref().map_or(Ok(()), |on| on.credentials.check(&self.client(request)))
    }

    /// Whom a request is counted for: the peer, or behind a trusted proxy the last address that it added.
    pub fn client(&self, request: &HttpRequest) -> IpAddr {
        static FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
        let forwarded = || {
            let header = request.headers().get(&FORWARDED)?.to_str().ok()?;
            header.rsplit(',').next()?.trim().parse().ok()
        };
        let peer = || request.peer_addr().map(|peer| peer.ip());
        let address = self.trust_forwarded.then(forwarded).flatten().or_else(peer);
        network(address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
    }

    /// Forgets those who have been quiet.
    pub fn tidy(&self) {
        if let Some(on) = &self.on {
            on.member.0.retain_recent();
            on.address.0.retain_recent();
            on.credentials.0.retain_recent();
        }
    }
}

/// An IPv6 customer has a /64, and so counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
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

/// With a burst of two seconds' worth.
fn per_second(rate: NonZeroU32) -> Quota {
    Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)))
}

fn per_minute(rate: NonZeroU32) -> Quota {
    Quota::per_minute(rate)
}

/// The middleware that refuses an address which asks too often.
pub async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admitted = match request.app_data::<Data<Storefront>>() {
        Some(shop) if request.path().starts_with("/api/") => shop.limits.address(shop.limits.client(request.request())),
        _ => Ok(()),
    };
    match admitted {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(refusal) => Ok(request.into_response(refusal.error_response())),
    }
}
