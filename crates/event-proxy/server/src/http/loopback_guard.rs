//! Loopback guard: without required API keys, only programs of this machine may call. Refuses forwarding proxies, and
//! browsers on behalf of a site.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, Version, header};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest, ResponseError};
use rest::{Problem, directory};

use crate::Proxy;
use crate::http::problems;
use crate::ingest::cloudevents;
use crate::ui::HOME;

/// Media types that a form of any site can send without a preflight request.
const OF_FORMS: [&str; 3] = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

/// Route that takes these, too, from programs that are no browsers.
const ANY_BODY: &str = "/v1/events/{service}/{type}";

/// Parts of names of headers added by reverse proxies and content networks.
const OF_FORWARDERS: [&str; 7] =
    ["forwarded", "real-ip", "client-ip", "clientip", "connecting-ip", "user-ip", "x-envoy-"];

/// Middleware of the loopback guard.
///
/// # Errors
/// Errors of the application.
pub(crate) async fn watch(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_open = request.app_data::<Data<Proxy>>().is_some_and(|proxy| !proxy.settings.keys_required());
    match is_open.then(|| refusal(request.request())).flatten() {
        Some(refusal) => Ok(request.into_response(refusal.error_response())),
        None => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

fn refusal(request: &HttpRequest) -> Option<Problem> {
    let not_allowed = |why: &str| Some(Problem::new(&problems::NOT_ALLOWED_WITHOUT_KEYS).detail(why));
    let headers = request.headers();
    // an attribute of an event may have any name
    let mut names = headers.keys().map(header::HeaderName::as_str).filter(|name| !name.starts_with("ce-"));
    if names.any(|name| ["via", "cdn-loop"].contains(&name) || OF_FORWARDERS.iter().any(|part| name.contains(part))) {
        return not_allowed("the request was forwarded");
    }
    // the default of nginx's proxy_pass; no client of today speaks it
    if request.version() < Version::HTTP_11 {
        return not_allowed("HTTP/1.0 is what forwards requests");
    }
    // a name that leads here may be any site's
    if !host(request).is_some_and(|host| is_of_this_machine(host.host())) {
        return not_allowed("the host is not localhost");
    }
    let route = directory::matched(request);
    // data of any media type
    let takes_any_body = cloudevents::is_binary(headers) || route.is_some_and(|route| &*route.pattern == ANY_BODY);
    let is_of_browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    // the pages' own forms have a session and its token
    let is_of_pages = route.is_some_and(|route| route.is_under(HOME));
    let media = request.content_type();
    let is_of_form = OF_FORMS.iter().any(|of_forms| media.eq_ignore_ascii_case(of_forms));
    let may_be_of_a_site = match takes_any_body {
        true => is_of_browser && (is_of_form || media.is_empty()),
        false => is_of_form && !is_of_pages,
    };
    (request.method() == Method::POST && may_be_of_a_site).then(|| {
        let detail = "a browser could send this on behalf of any site; send application/json";
        Problem::new(&rest::kinds::UNSUPPORTED_MEDIA_TYPE).detail(detail)
    })
}

/// Returns the authority of the target, sent by HTTP/2 and proxies and preferred to the header (RFC 9112, 3.2.2), or
/// the header Host.
fn host(request: &HttpRequest) -> Option<Authority> {
    let target = request.uri().authority().cloned();
    target.or_else(|| request.headers().get(header::HOST)?.to_str().ok()?.parse().ok())
}

/// Returns true for a loopback name or address.
pub(crate) fn is_of_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_of_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]", "::1"] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in ["", "localhost.example", "example.com", "0.0.0.0", "10.0.0.1", "[::]", "127.0.0.1.example"] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }
}
