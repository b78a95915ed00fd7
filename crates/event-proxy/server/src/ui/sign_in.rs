//! Signing in and out.

use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, get, post};
use askama::Template;
use garde::Validate;
use rest::Problem;
use rest::input::fields;
use serde::Deserialize;

use super::session_extractor::{Form, Nothing, Query, is_page, read};
use super::{HOME, Refusal, assets, go_to, html};
use crate::Proxy;

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage {
    next: String,
    /// Error of the last attempt.
    refused: Option<&'static str>,
}

#[derive(Deserialize, Validate)]
pub(super) struct SignInQuery {
    #[garde(length(bytes, max = 2000))]
    next: Option<String>,
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct SignInForm {
    /// Field for password managers.
    #[garde(skip)]
    #[serde(default, rename = "username")]
    _username: String,
    #[garde(length(bytes, max = 1000))]
    #[serde(default)]
    password: String,
    #[garde(length(bytes, max = 2000))]
    #[serde(default)]
    next: String,
}

/// Redirects to the sign-in, and from there to `next`.
pub(super) fn first(next: &str) -> HttpResponse {
    if next == HOME || !is_page(next) {
        return go_to("/admin/sign-in");
    }
    match serde_urlencoded::to_string([("next", next)]) {
        Ok(query) => go_to(&format!("/admin/sign-in?{query}")),
        Err(_) => go_to("/admin/sign-in"),
    }
}

/// Asks for the password.
#[get("/admin/sign-in")]
pub(crate) async fn page(proxy: Data<Proxy>, request: HttpRequest, query: Query<SignInQuery>) -> HttpResponse {
    let next = query.0.next.filter(|next| is_page(next)).unwrap_or_else(|| HOME.to_owned());
    if proxy.admin.session(&request).is_some() {
        return go_to(&next);
    }
    html(StatusCode::OK, &SignInPage { next, refused: None })
}

/// Begins a session.
#[post("/admin/sign-in")]
pub(crate) async fn sign_in(proxy: Data<Proxy>, request: HttpRequest, body: Payload) -> Result<HttpResponse, Refusal> {
    let text = read(&request, &mut body.into_inner()).await?;
    let form: SignInForm = fields(&text)?;
    let next = if is_page(&form.next) { form.next } else { HOME.to_owned() };
    match proxy.admin.sign_in(&request, &form.password).await {
        Ok(cookie) => Ok(with(go_to(&next), &cookie)?),
        Err(problem) if problem.kind().status == StatusCode::UNAUTHORIZED => {
            let refused = Some("This is not the password.");
            Ok(html(StatusCode::UNAUTHORIZED, &SignInPage { next, refused }))
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Ends the session.
#[post("/admin/sign-out")]
pub(crate) async fn sign_out(proxy: Data<Proxy>, form: Form<Nothing>) -> Result<HttpResponse, Refusal> {
    let cookie = proxy.admin.sign_out(form.viewer.session).await.map_err(Problem::from)?;
    Ok(with(go_to("/admin/sign-in"), &cookie)?)
}

fn with(mut response: HttpResponse, cookie: &Cookie<'_>) -> Result<HttpResponse, Problem> {
    response.add_cookie(cookie).map_err(Problem::internal)?;
    Ok(response)
}
