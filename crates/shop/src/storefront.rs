//! The shop from the view of HTTP.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use checkout::Terms;
use consumers::coupon_issuer::IssuerWake;
use consumers::notification::Hub;
use contracts::MemberId;
use db::{Database, Grouped};
use messaging::{Group, Log};
use program::Secret;
use rest::throttle::LoginThrottle;
use rest::turns::Turns;
use tokio_util::sync::CancellationToken;

use crate::auth::{Keys, Passwords, RequestIds, Sessions, Tickets, Tokens};
use crate::cache::{Coupons, Popular, Products};
use crate::http::limits::Limits;
use crate::streams::Streams;

/// Resources of the routes; one for all HTTP threads.
pub struct Storefront {
    pub runtime: runtime::Shop,
    pub db: Database,
    pub log: Log,
    pub groups: Arc<[Group]>,
    pub hub: Hub,
    pub issuer_wake: IssuerWake,
    pub tokens: Tokens,
    pub tickets: Tickets,
    /// Writes requests for coupons.
    pub requests: Grouped,
    pub request_ids: RequestIds,
    pub passwords: Passwords,
    pub sessions: Sessions,
    pub limits: Limits,
    pub products: Products,
    pub coupons: Coupons,
    pub popular: Popular,
    pub terms: Terms,
    /// Orders of a member are placed one after the other, so that each sees the earlier unpaid orders.
    pub turns: Turns<MemberId>,
    pub streams: Streams,
    pub throttle: LoginThrottle,
    /// Lifetime of a session without a refresh.
    pub refresh_lifetime: Duration,
    /// Cancelled at the stop of the shop: waiting requests and streams end.
    pub stop: CancellationToken,
}

impl Storefront {
    /// Wraps an open shop that signs tokens with this secret.
    pub fn new(shop: &runtime::Shop, token_secret: &Secret, stop: CancellationToken) -> Self {
        let settings = &shop.settings;
        let keys = Keys::new(token_secret.expose().as_bytes());
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            db: shop.db.clone(),
            log: shop.log.clone(),
            groups: shop.groups.clone(),
            hub: shop.hub.clone(),
            issuer_wake: shop.issuer_wake.clone(),
            tokens: Tokens::new(&keys, settings.auth.access_ttl),
            tickets: Tickets::new(&keys),
            requests: Grouped::start(shop.db.clone()),
            request_ids: RequestIds::new(&keys),
            passwords: Passwords::new(cores),
            sessions: Sessions::new(shop.db.clone()),
            limits: Limits::new(&settings.rate_limit, settings.http.trust_forwarded),
            products: Products::new(shop.db.clone()),
            coupons: Coupons::new(shop.db.clone()),
            popular: Popular::new(shop.db.clone()),
            terms: Terms { expires_after: settings.order.expires_after, unpaid: settings.order.unpaid() },
            turns: Turns::default(),
            streams: Streams::new(settings.http.streams_per_member.get(), settings.http.max_streams.get()),
            throttle: LoginThrottle::new(settings.rate_limit.enabled),
            refresh_lifetime: settings.auth.refresh_ttl,
            runtime: shop.clone(),
            stop,
        }
    }
}
