//! The viewer of a page, and the viewer's forms.

use std::future::{Ready, ready};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use garde::Validate;
use rest::body::Whole;
use rest::input::{fields, fields_of, pairs, read as read_body};
use rest::{Problem, kinds};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{HOME, Refusal};
use crate::Proxy;
use crate::auth::admin::Session;
use crate::http::problems as ours;

/// Someone with a session.
pub(super) struct Viewer {
    /// CSRF token for the forms of the page.
    pub csrf: String,
    pub session: Session,
}

impl FromRequest for Viewer {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(of(request))
    }
}

fn of(request: &HttpRequest) -> Result<Viewer, Refusal> {
    let proxy = proxy(request)?;
    match proxy.admin.session(request) {
        Some(session) => Ok(Viewer { csrf: proxy.admin.csrf_token(&session), session }),
        None if request.method() == Method::GET => Err(Refusal::SignIn(request.uri().to_string())),
        None => Err(Refusal::SignIn(HOME.to_owned())),
    }
}

fn proxy(request: &HttpRequest) -> Result<&Data<Proxy>, Problem> {
    request.app_data::<Data<Proxy>>().ok_or_else(|| Problem::internal("no proxy"))
}

/// Query parameters of a page.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned + Validate<Context = ()>> FromRequest for Query<T> {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(fields(request.query_string()).map(Self).map_err(Refusal::from))
    }
}

/// A form sent by a page of the viewer's session.
pub(super) struct Form<T> {
    pub viewer: Viewer,
    pub value: T,
}

/// Field of every form with the token of the session.
const CSRF: &str = "csrf";

/// Fields of a form without fields.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<T: DeserializeOwned + Validate<Context = ()> + 'static> FromRequest for Form<T> {
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refusal>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, text) = (request.clone(), read(request, payload));
        Box::pin(async move {
            let viewer = of(&request)?;
            let (text, proxy) = (text.await?, proxy(&request)?);
            let (tokens, fields): (Vec<_>, _) = pairs(&text)?.into_iter().partition(|(name, _)| name == CSRF);
            if !tokens.iter().any(|(_, token)| proxy.admin.is_csrf_token(&viewer.session, token)) {
                return Err(Problem::new(&ours::WRONG_CSRF_TOKEN).detail("load the page again").into());
            }
            Ok(Self { viewer, value: fields_of(fields)? })
        })
    }
}

/// Returns the text of a form from any sender.
pub(super) fn read(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<String, Problem>> + use<> {
    let is_form = request.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let body = read_body(request, payload);
    async move {
        if !is_form {
            return Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).detail("a form is expected"));
        }
        let Whole { bytes, .. } = body.await?;
        let wrong = |_| Problem::new(&kinds::BAD_REQUEST).detail("the form is not text");
        String::from_utf8(bytes).map_err(wrong)
    }
}

/// Returns true for a path of a page: redirects go nowhere else.
pub(super) fn is_page(path: &str) -> bool {
    let rest = path.strip_prefix(HOME);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::is_page;

    #[test]
    fn only_pages_are_gone_to() {
        for path in ["/admin", "/admin/topics", "/admin?page=2", "/admin/topics/order.paid"] {
            assert!(is_page(path), "{path}");
        }
        for path in ["", "/", "//evil.example", "/adminx", "https://evil.example/admin", "/\\evil", "/admin/\r\nX: y"] {
            assert!(!is_page(path), "{path}");
        }
    }
}
