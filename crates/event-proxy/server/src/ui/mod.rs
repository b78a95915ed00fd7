//! The admin's pages: the admin's routes for people. Rendered on the server; scripts only keep the pages up to date.

mod assets;
mod audit;
mod dead_letters;
mod keys;
mod overview;
mod session_extractor;
mod show;
mod sign_in;
mod tail;
mod topics;

use actix_web::http::header::{self, ContentType};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use askama::Template;
use rest::Problem;
use rest::directory::Outside;

use crate::Proxy;
use crate::auth::admin;
use session_extractor::Viewer;

/// Links of the frame: the first part of the path behind [`HOME`], and the title.
const LINKS: [(&str, &str); 5] = [
    ("", "Overview"),
    ("topics", "Topics"),
    ("dead-letters", "Dead letters"),
    ("keys", "API keys"),
    ("audit", "Audit log"),
];

/// Path of the pages.
pub(crate) const HOME: &str = "/admin";

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::POST];

/// Query parameters of the pages.
const NONE: Option<&[&str]> = Some(&[]);
const TAIL: Option<&[&str]> = Some(&["key", "text"]);
const DEAD_LETTERS: Option<&[&str]> = Some(&[
    "state",
    "topic",
    "service",
    "type",
    "key",
    "error",
    "after",
    "before",
    "limit",
    "cursor",
    "redriven",
    "discarded",
]);

/// Routes of the pages; absent from the OpenAPI document.
pub const ROUTES: &[Outside] = &[
    (HOME, GET, NONE),
    ("/admin/", GET, NONE),
    ("/admin/overview.json", GET, NONE),
    ("/admin/sign-in", BOTH, Some(&["next"])),
    ("/admin/sign-out", POST, NONE),
    ("/admin/topics", BOTH, Some(&["made", "deleted"])),
    ("/admin/topics/{name}", GET, TAIL),
    ("/admin/topics/{name}/delete", POST, NONE),
    ("/admin/topics/{name}/tail", GET, TAIL),
    ("/admin/dead-letters", GET, DEAD_LETTERS),
    ("/admin/dead-letters/redrive", POST, NONE),
    ("/admin/dead-letters/{id}/discard", POST, NONE),
    ("/admin/keys", BOTH, Some(&["revoked"])),
    ("/admin/keys/{id}/rotate", POST, NONE),
    ("/admin/keys/{id}/revoke", POST, NONE),
    ("/admin/audit", GET, Some(&["limit", "cursor"])),
    ("/admin/static/{name}", GET, Some(&["v"])),
];

/// Runs and shows only content of this server; forms go nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Registers the pages and their assets.
pub(crate) fn routes(config: &mut ServiceConfig) {
    let home = web::redirect("/admin/", HOME);
    config
        .service(home)
        .service(overview::page)
        .service(overview::json)
        .service(sign_in::page)
        .service(sign_in::sign_in)
        .service(sign_in::sign_out)
        .service(topics::list)
        .service(topics::make)
        .service(topics::one)
        .service(topics::delete)
        .service(tail::tail)
        .service(dead_letters::list)
        .service(dead_letters::redrive)
        .service(dead_letters::discard)
        .service(keys::list)
        .service(keys::make)
        .service(keys::rotate)
        .service(keys::revoke)
        .service(audit::page)
        .service(assets::one);
}

/// Frame of all pages.
struct Frame {
    /// The first part of the path behind [`HOME`].
    place: &'static str,
    title: String,
    /// The proxy's name.
    node: String,
    /// True if there are other proxies with logs of their own.
    has_peers: bool,
    csrf: String,
}

impl Frame {
    fn new(proxy: &Proxy, viewer: &Viewer, place: &'static str, title: impl Into<String>) -> Self {
        let node = &proxy.settings.node;
        let (title, csrf) = (title.into(), viewer.csrf.clone());
        Self { place, title, node: node.name.clone(), has_peers: !node.peers.is_empty(), csrf }
    }

    /// Returns true for the link of this page, for `aria-current`.
    fn is_at(&self, place: &str) -> bool {
        self.place == place
    }
}

/// Reason for not showing a page.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No session; after signing in, the browser returns to this path.
    SignIn(String),
    Problem(Problem),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SignIn(next) => write!(f, "not signed in for {next}"),
            Self::Problem(problem) => problem.fmt(f),
        }
    }
}

impl<E: Into<Problem>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SignIn(_) => StatusCode::SEE_OTHER,
            Self::Problem(problem) => problem.kind().status,
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::SignIn(next) => sign_in::first(next),
            Self::Problem(problem) => {
                let page = FailedPage { title: problem.kind().title, told: problem.told() };
                let mut response = html(problem.kind().status, &page);
                if let Some(wait) = problem.error_response().headers().get(header::RETRY_AFTER) {
                    response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
                }
                response
            }
        }
    }
}

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedPage {
    title: &'static str,
    told: String,
}

/// Renders a page.
fn html(status: StatusCode, page: &impl Template) -> HttpResponse {
    let Ok(text) = page.render() else { return Problem::internal("a page can't be shown").error_response() };
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, admin::BY_SESSION));
    }
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(ContentType::html())
        .body(text)
}

/// Redirects the browser to `path`, by a GET.
fn go_to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, path)).finish()
}
