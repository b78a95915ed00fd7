//! Sessions: a signed cookie each. Only the end of a session is kept.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use db::types::Time;
use hmac::{Hmac, KeyInit, Mac};
use program::Secret;
use sha2::Sha256;
use uuid::Uuid;

const COOKIE: &str = "event-proxy-session";
/// Browsers take a cookie of such a name only over TLS, and from no other host of the domain.
const SECURE_COOKIE: &str = "__Host-event-proxy-session";
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Signed bytes of a cookie: the id, and the expiry.
const SAID: usize = size_of::<Uuid>() + size_of::<i64>();

/// Session of a browser after a right password, before the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub expires_at: Time,
}

/// Signs sessions by keys derived from the password and a secret in the control database. Proxies with equal password
/// and secret share sessions, and a new password ends all sessions. An attacker with a cookie can't check guesses of
/// the password.
pub(super) struct Sessions {
    key: Hmac<Sha256>,
    csrf: Hmac<Sha256>,
    /// Token that a peer shows instead of the password.
    pub peer: String,
    secure: bool,
}

impl Sessions {
    pub(super) fn new(password: &Secret, secret: &Secret, secure: bool) -> Self {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("a key may be of any length");
        let of_password =
            |purpose: &str| keyed(password.expose().as_bytes()).chain_update(purpose).finalize().into_bytes();
        let of = |purpose: &str| {
            let both = keyed(secret.expose().as_bytes()).chain_update(of_password(purpose)).finalize();
            keyed(&both.into_bytes())
        };
        // peers may have control databases of their own
        let peer = BASE64_URL_SAFE_NO_PAD.encode(of_password("peer"));
        Self { key: of("admin-session"), csrf: of("csrf-token"), peer, secure }
    }

    fn cookie_name(&self) -> &'static str {
        if self.secure { SECURE_COOKIE } else { COOKIE }
    }

    pub(super) fn begin(&self) -> Cookie<'static> {
        let mut said = Uuid::new_v4().as_bytes().to_vec();
        said.extend((Time::now() + LIFETIME).micros().to_be_bytes());
        let mac = self.key.clone().chain_update(&said).finalize();
        said.extend(mac.into_bytes());
        self.cookie(BASE64_URL_SAFE_NO_PAD.encode(said))
    }

    pub(super) fn of(&self, request: &HttpRequest) -> Option<Session> {
        self.read(request.cookie(self.cookie_name())?.value())
    }

    pub(super) fn end(&self) -> Cookie<'static> {
        let mut cookie = self.cookie(String::new());
        cookie.make_removal();
        cookie
    }

    pub(super) fn csrf_token(&self, session: &Session) -> String {
        let mac = self.csrf.clone().chain_update(session.id.as_bytes()).finalize();
        BASE64_URL_SAFE_NO_PAD.encode(mac.into_bytes())
    }

    pub(super) fn is_csrf_token(&self, session: &Session, token: &str) -> bool {
        let Ok(token) = BASE64_URL_SAFE_NO_PAD.decode(token) else { return false };
        // in constant time
        self.csrf.clone().chain_update(session.id.as_bytes()).verify_slice(&token).is_ok()
    }

    fn read(&self, cookie: &str) -> Option<Session> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (said, mac) = bytes.split_at_checked(SAID)?;
        self.key.clone().chain_update(said).verify_slice(mac).ok()?;
        let (id, ends) = said.split_at_checked(size_of::<Uuid>())?;
        let expires_at = Time::from_micros(i64::from_be_bytes(ends.try_into().ok()?))?;
        (expires_at > Time::now()).then_some(Session { id: Uuid::from_slice(id).ok()?, expires_at })
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        Cookie::build(self.cookie_name(), value)
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.secure)
            .max_age(time::Duration::try_from(LIFETIME).unwrap_or(time::Duration::ZERO))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(password: &str, secret: &str, secure: bool) -> Sessions {
        Sessions::new(&password.into(), &secret.into(), secure)
    }

    #[test]
    fn a_cookie_holds_until_the_password_changes_and_any_change_spoils_it() {
        let sessions = with("a long password", "a secret", false);
        let cookie = sessions.begin();
        let session = sessions.read(cookie.value()).unwrap();
        let token = sessions.csrf_token(&session);
        assert!(sessions.is_csrf_token(&session, &token));
        let same = with("a long password", "a secret", true);
        assert_eq!(same.read(cookie.value()), Some(session), "a proxy beside it");
        assert!(same.is_csrf_token(&session, &token));

        let other = sessions.read(sessions.begin().value()).unwrap();
        assert!(!sessions.is_csrf_token(&other, &token), "of another session");
        assert!(!sessions.is_csrf_token(&session, ""));
        let changed = with("another password", "a secret", false);
        assert_eq!(changed.read(cookie.value()), None);
        assert!(!changed.is_csrf_token(&session, &token));
        let elsewhere = with("a long password", "another secret", false);
        assert_eq!(elsewhere.read(cookie.value()), None, "the password alone makes no session");
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(sessions.read(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
        assert_eq!(sessions.read(""), None);
    }

    #[test]
    fn a_cookie_that_is_over_is_none() {
        let sessions = with("a long password", "a secret", false);
        let mut said = Uuid::new_v4().as_bytes().to_vec();
        said.extend((Time::now() - Duration::from_secs(1)).micros().to_be_bytes());
        let mac = sessions.key.clone().chain_update(&said).finalize();
        said.extend(mac.into_bytes());
        assert_eq!(sessions.read(&BASE64_URL_SAFE_NO_PAD.encode(said)), None);
    }

    #[test]
    fn scripts_do_not_see_the_cookie_and_other_sites_do_not_send_it() {
        let of = |secure| with("a long password", "a secret", secure).begin();
        let (plain, tls) = (of(false), of(true));
        assert_eq!(plain.http_only(), Some(true));
        assert_eq!(plain.same_site(), Some(SameSite::Strict));
        assert_eq!((plain.secure(), tls.secure()), (Some(false), Some(true)));
        assert_eq!((plain.name(), tls.name()), ("event-proxy-session", "__Host-event-proxy-session"));
        assert_eq!((tls.path(), tls.domain()), (Some("/"), None), "as the prefix demands");
        assert_eq!(plain.max_age().map(actix_web::cookie::time::Duration::whole_hours), Some(12));
    }
}
