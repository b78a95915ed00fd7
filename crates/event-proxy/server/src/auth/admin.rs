//! The admin: one password, sessions of browsers after signing in, and the extractor of the admin's routes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use actix_web::cookie::Cookie;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use db::text::typed;
use db::types::Time;
use db::{Database, Tx};
use parking_lot::RwLock;
use program::{Secret, kept_secret};
use rest::throttle::LoginThrottle;
use rest::{Problem, client};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use telemetry::metrics::EVENT_PROXY_WRONG_PASSWORDS;

use crate::Proxy;
use crate::auth::ended_sessions;
pub use crate::auth::session::Session;
use crate::auth::session::Sessions;
use crate::cluster::audit;
use crate::http::problems;
use crate::settings::{HttpSettings, Settings};

/// The admin's name, for HTTP Basic and in the audit log.
pub const NAME: &str = "admin";
/// Header with a page's CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// Authorization scheme of peers.
const PEER: &str = "Peer";
/// File in `data_dir` with a generated password.
pub const PASSWORD_FILE: &str = "admin-password";

/// Caller with the admin's password, or with a session.
pub struct Admin {
    /// Name in the audit log.
    pub who: String,
    /// Unless the password itself was shown.
    pub session: Option<Session>,
}

/// The admin's password, and true if generated at this start.
pub struct Password {
    text: Secret,
    is_new: bool,
}

impl Password {
    /// Returns the password of the settings, or the password kept in `data_dir`, generated if absent.
    ///
    /// # Errors
    /// If the file can't be read or written.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        let (set, folder) = (&settings.admin.password, &settings.data_dir);
        let is_new = set.is_empty() && !folder.join(PASSWORD_FILE).exists();
        let text = if set.is_empty() { kept_secret(folder, PASSWORD_FILE)? } else { set.clone() };
        Ok(Self { text, is_new })
    }
}

/// Checks the admin's password and sessions.
pub struct Access {
    password: Password,
    sessions: Sessions,
    /// Ended sessions, until the expiry of their cookies: ended here, or last read from the control database.
    ended: RwLock<HashMap<ended_sessions::Hash, Time>>,
    throttle: LoginThrottle,
    control: Database,
    trust_forwarded: bool,
}

impl Access {
    /// Opens the admin's access. With TLS, browsers send the cookies only over TLS.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn open(password: Password, http: &HttpSettings, control: &Database) -> db::Result<Self> {
        let secret = control.write(ended_sessions::secret).await?;
        let access = Self {
            sessions: Sessions::new(&password.text, &secret, http.tls.is_on()),
            password,
            ended: RwLock::default(),
            throttle: LoginThrottle::new(true),
            control: control.clone(),
            trust_forwarded: http.trust_forwarded,
        };
        access.renew().await?;
        Ok(access)
    }

    /// Reads the ended sessions, including those of other proxies.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn renew(&self) -> db::Result<()> {
        let read = self.control.read(ended_sessions::all).await?;
        let mut ended = self.ended.write();
        // those that this proxy ended meanwhile stay
        ended.extend(read);
        ended.retain(|_, expires_at| *expires_at > Time::now());
        Ok(())
    }

    /// Returns the password, if generated at this start.
    pub fn new_password(&self) -> Option<&str> {
        self.password.is_new.then(|| self.password.text.expose())
    }

    /// Begins a session after a check of the password; returns the cookie to set.
    ///
    /// # Errors
    /// `unauthorized`, `too-many-requests`
    pub async fn sign_in(&self, request: &HttpRequest, password: &str) -> Result<Cookie<'static>, Problem> {
        self.check_password(request, password).await?;
        Ok(self.sessions.begin())
    }

    /// Returns the session of the request's cookie.
    pub fn session(&self, request: &HttpRequest) -> Option<Session> {
        self.sessions.of(request).filter(|session| self.is_live(session))
    }

    /// Returns true until a session expires or is ended.
    pub fn is_live(&self, session: &Session) -> bool {
        session.expires_at > Time::now() && !self.ended.read().contains_key(&ended_sessions::hash(session))
    }

    /// Returns the token that forms and scripts of the session's pages send; other sites don't know the token.
    pub fn csrf_token(&self, session: &Session) -> String {
        self.sessions.csrf_token(session)
    }

    /// Returns true if `token` is the session's token.
    pub fn is_csrf_token(&self, session: &Session, token: &str) -> bool {
        self.sessions.is_csrf_token(session, token)
    }

    /// Ends a session, here at once and within seconds at every proxy: the cookie to set.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn sign_out(&self, session: Session) -> db::Result<Cookie<'static>> {
        self.ended.write().insert(ended_sessions::hash(&session), session.expires_at);
        self.control.write(move |tx| ended_sessions::insert(tx, session)).await?;
        Ok(self.sessions.end())
    }

    /// Returns the credentials for peers with the same password; these don't reveal the password.
    pub fn credentials(&self) -> String {
        format!("{PEER} {}", self.sessions.peer)
    }

    /// Returns true for a peer with the same password. A wrong token costs no guess, because the token can't be
    /// guessed.
    fn is_of_peer(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok()?.split_once(' '));
        sent.is_some_and(|(scheme, token)| {
            scheme == PEER && token.as_bytes().ct_eq(self.sessions.peer.as_bytes()).into()
        })
    }

    /// Returns true if the request carries credentials of the admin.
    pub fn is_asked_for(&self, request: &HttpRequest) -> bool {
        basic(request.headers()).is_some_and(|(name, _)| name == NAME) || self.session(request).is_some()
    }

    /// Returns the session of the request; `None` for the password or a peer.
    async fn check(&self, request: &HttpRequest) -> Result<Option<Session>, Problem> {
        let headers = request.headers();
        if request.method().is_safe() && self.is_of_peer(headers) {
            return Ok(None);
        }
        if let Some((name, password)) = basic(headers).filter(|_| !is_of_another_site(headers)) {
            // a wrong name costs a guess, too
            let password = if name == NAME { password.as_str() } else { "" };
            return self.check_password(request, password).await.map(|()| None);
        }
        let unauthorized =
            || Problem::new(&problems::UNAUTHORIZED).detail("this is for the admin").challenge(way(request));
        let session = self.session(request).ok_or_else(unauthorized)?;
        let token = headers.get(CSRF_HEADER).and_then(|token| token.to_str().ok()).unwrap_or_default();
        if request.method().is_safe() || self.is_csrf_token(&session, token) {
            return Ok(Some(session));
        }
        Err(Problem::new(&problems::WRONG_CSRF_TOKEN).detail(format_args!("send it as {CSRF_HEADER}")))
    }

    async fn check_password(&self, request: &HttpRequest, password: &str) -> Result<(), Problem> {
        let from = client::address(request, self.trust_forwarded);
        let attempt = self.throttle.turn(NAME, from).await?;
        // of the same length whatever was sent, so that the time tells nothing
        let [sent, set] = [password, self.password.text.expose()].map(|password| Sha256::digest(typed(password)));
        if sent.as_slice().ct_eq(set.as_slice()).into() {
            attempt.right();
            return Ok(());
        }
        self.note_wrong(from, attempt.number()).await;
        Err(Problem::new(&problems::UNAUTHORIZED).detail("the password is wrong").challenge(BASIC))
    }

    /// Logs the first wrong passwords of an address, and then each doubling, so that guesses don't fill a disk.
    async fn note_wrong(&self, from: IpAddr, count: u32) {
        EVENT_PROXY_WRONG_PASSWORDS.of([]).increment(1);
        if count != 3 && !count.is_power_of_two() {
            return;
        }
        tracing::warn!(%from, count, "wrong password of the admin");
        let record = move |tx: &mut Tx<'_>| {
            audit::record(tx, &from.to_string(), "admin.wrong-password", NAME, &format!("{count} from this address"))
        };
        if let Err(error) = self.control.write(record).await {
            tracing::warn!(%error, "the audit log lacks a wrong password");
        }
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let proxy = request.app_data::<Data<Proxy>>().ok_or_else(|| Problem::internal("no proxy"))?;
            let session = proxy.admin.check(&request).await?;
            Ok(Self { who: NAME.to_owned(), session })
        })
    }
}

/// Challenge for pages.
pub const BY_SESSION: &str = "Session realm=\"event-proxy\"";
const BASIC: &str = "Basic realm=\"event-proxy\", charset=\"UTF-8\"";

/// Returns the challenge: Basic, except for pages, where a browser would open a dialog of its own.
fn way(request: &HttpRequest) -> &'static str {
    let headers = request.headers();
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let of_page = accepts.contains("text/html") || headers.contains_key(CSRF_HEADER);
    if of_page || headers.contains_key("sec-fetch-mode") { BY_SESSION } else { BASIC }
}

/// Returns true for a request from another site: a browser with a remembered password sends it for any site's
/// request.
pub(super) fn is_of_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Name and password of HTTP Basic.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
