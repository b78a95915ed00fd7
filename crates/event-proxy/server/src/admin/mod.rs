//! The admin: one password, sessions of browsers that showed it, and the extractor of the routes that ask for it.

mod guesses;
mod session;

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use actix_web::cookie::Cookie;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use program::{Secret, kept_secret};
use rest::Problem;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Proxy;
use crate::http::kinds;
use guesses::Guesses;
pub use session::Session;
use session::Sessions;

/// The admin's name, for HTTP Basic and in the audit log.
pub const NAME: &str = "admin";
/// The header in which a page sends its CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// The scheme by which peers ask.
const PEER: &str = "Peer";
/// The file in `data_dir` with a password that was made.
pub const PASSWORD_FILE: &str = "admin-password";

/// Whoever asks showed the admin's password, or has a session that began with it.
pub struct Admin {
    /// For the audit log.
    pub who: String,
}

/// Knows the admin's password.
pub struct Access {
    password: Secret,
    is_new: bool,
    sessions: Sessions,
    guesses: Guesses,
}

impl Access {
    /// By the password `set`, or unless there is one by that kept in `folder`, which is made if there is none. With
    /// `tls`, browsers send their cookies in no other way.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn open(set: &Secret, folder: &Path, tls: bool) -> std::io::Result<Self> {
        let is_new = set.is_empty() && !folder.join(PASSWORD_FILE).exists();
        let password = if set.is_empty() { kept_secret(folder, PASSWORD_FILE)? } else { set.clone() };
        let sessions = Sessions::new(&password, tls);
        Ok(Self { password, is_new, sessions, guesses: Guesses::new() })
    }

    /// The password, if it was made just now and nobody knows it yet.
    pub fn new_password(&self) -> Option<&str> {
        self.is_new.then(|| self.password.expose())
    }

    /// Begins a session for whoever knows the password: the cookie to set.
    ///
    /// # Errors
    /// `unauthorized`, and `too-many-requests` after too many wrong ones from one address.
    pub fn sign_in(&self, from: IpAddr, password: &str) -> Result<Cookie<'static>, Problem> {
        self.check_password(from, password)?;
        Ok(self.sessions.begin())
    }

    /// The session of the request's cookie.
    pub fn session(&self, request: &HttpRequest) -> Option<Session> {
        self.sessions.of(request)
    }

    /// What forms and scripts of the session's pages send along, and other sites' can't.
    pub fn csrf_token(&self, session: &Session) -> String {
        self.sessions.csrf_token(session)
    }

    /// Whether `token` is that of the session.
    pub fn is_csrf_token(&self, session: &Session, token: &str) -> bool {
        self.sessions.is_csrf_token(session, token)
    }

    /// Ends the session of a browser: the cookie to set.
    pub fn sign_out(&self) -> Cookie<'static> {
        self.sessions.end()
    }

    /// What peers with the same password are asked with; it tells them no password.
    pub fn credentials(&self) -> String {
        format!("{PEER} {}", self.sessions.peer)
    }

    /// Whether a peer asks that has the same password. A wrong one costs no guess: nobody can guess it.
    fn is_of_peer(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok()?.split_once(' '));
        sent.is_some_and(|(scheme, token)| {
            scheme == PEER && token.as_bytes().ct_eq(self.sessions.peer.as_bytes()).into()
        })
    }

    /// Whether the request says that it is the admin's.
    pub fn is_asked_for(&self, request: &HttpRequest) -> bool {
        basic(request.headers()).is_some() || self.session(request).is_some()
    }

    fn check(&self, request: &HttpRequest) -> Result<(), Problem> {
        let headers = request.headers();
        if request.method().is_safe() && self.is_of_peer(headers) {
            return Ok(());
        }
        if let Some((name, password)) = basic(headers).filter(|_| !is_of_another_site(headers)) {
            // a wrong name costs a guess, too
            let password = if name == NAME { password.as_str() } else { "" };
            return self.check_password(client(request), password);
        }
        let unauthorized =
            || Problem::new(&kinds::UNAUTHORIZED).detail("this is for the admin").challenge(way(request));
        let session = self.session(request).ok_or_else(unauthorized)?;
        let token = headers.get(CSRF_HEADER).and_then(|token| token.to_str().ok()).unwrap_or_default();
        if request.method().is_safe() || self.is_csrf_token(&session, token) {
            return Ok(());
        }
        Err(Problem::new(&kinds::WRONG_CSRF_TOKEN).detail(format_args!("send it as {CSRF_HEADER}")))
    }

    fn check_password(&self, from: IpAddr, password: &str) -> Result<(), Problem> {
        self.guesses.check(from)?;
        // of the same length whatever was sent, so that the time tells nothing
        let [sent, set] = [password, self.password.expose()].map(Sha256::digest);
        if bool::from(sent.as_slice().ct_eq(set.as_slice())) {
            return Ok(());
        }
        self.guesses.wrong(from);
        Err(Problem::new(&kinds::UNAUTHORIZED).detail("the password is wrong").challenge(BASIC))
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let proxy = request.app_data::<Data<Proxy>>();
        let checked = proxy.map_or_else(|| Err(Problem::internal("no proxy")), |proxy| proxy.admin.check(request));
        ready(checked.map(|()| Self { who: NAME.to_owned() }))
    }
}

/// Whom a request is from, as guesses are counted. An IPv6 network has a /64, and so counts as one.
pub fn client(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip());
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        v4 => v4,
    }
}

/// How pages are signed in to.
pub const BY_SESSION: &str = "Session realm=\"event-proxy\"";
const BASIC: &str = "Basic realm=\"event-proxy\", charset=\"UTF-8\"";

/// How to sign in: Basic, for which a browser would open a window of its own, so not where a page asks.
fn way(request: &HttpRequest) -> &'static str {
    let headers = request.headers();
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let of_page = accepts.contains("text/html") || headers.contains_key(CSRF_HEADER);
    if of_page || headers.contains_key("sec-fetch-mode") { BY_SESSION } else { BASIC }
}

/// A browser that was once given the password sends it along whichever site has it ask.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
