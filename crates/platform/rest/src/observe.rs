//! Middleware around every request: trace, latency, and headers of every answer.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};
use telemetry::{TraceContext, metrics, traced};
use tracing::field::Empty;

use crate::directory;
use crate::kinds;
use crate::problem::{self, Problem};

/// Middleware around the whole application.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let method = known(request.method());
    let route = directory::matched(request.request());
    let docs = route.is_some_and(|route| route.is_under("/docs"));
    let route = route.map_or_else(|| "unmatched".into(), |route| route.pattern.clone());
    let parent = request.headers().get("traceparent").and_then(|text| text.to_str().ok()?.parse().ok());
    let span = tracing::info_span!("request", trace_id = Empty, method, route = &*route);

    let mut response = traced(parent, span, async move {
        let mut response = if request.method().is_safe() {
            next.call(request).await?.map_into_boxed_body()
        } else {
            let (response, durable) = db::durable(next.call(request)).await;
            let response = response?.map_into_boxed_body();
            match durable {
                Ok(()) => response,
                Err(error) => response.into_response(Problem::from(error).error_response()),
            }
        };
        if is_bare_failure(&response) {
            response = as_problem(response);
        }
        if let Some(trace) = TraceContext::current() {
            insert(response.headers_mut(), "x-request-id", &trace.trace_id());
        }
        Ok::<_, Error>(response)
    })
    .await?;

    guard(response.headers_mut(), docs);
    let status = response.status();
    let labels = [route.into(), method.into(), status.as_str().to_owned().into()];
    metrics::HTTP_REQUESTS_SECONDS.of(labels).record(started.elapsed().as_secs_f64());
    tracing::debug!(method, status = status.as_u16(), elapsed = ?started.elapsed(), "answered");
    Ok(response)
}

/// Returns the name of a method for metrics and traces. A client may send any word of any length.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Returns true for a failure of the framework. Problem documents, pages, and JSON (`/readyz`) are the server's own.
fn is_bare_failure(response: &ServiceResponse) -> bool {
    let status = response.status();
    let ours = [problem::MEDIA_TYPE, "application/json", "text/html"];
    let is_told = |media: &HeaderValue| ours.iter().any(|ours| media.as_bytes().starts_with(ours.as_bytes()));
    (status.is_client_error() || status.is_server_error())
        && !response.headers().get(header::CONTENT_TYPE).is_some_and(is_told)
}

fn as_problem(response: ServiceResponse) -> ServiceResponse {
    let kind = kinds::of_status(response.status());
    if kind.status.is_server_error() {
        tracing::error!(error = ?response.response().error(), "the framework failed");
    }
    let mut problem = Problem::new(kind).error_response();
    // such as those of CORS
    for (name, value) in response.headers() {
        if !problem.headers().contains_key(name) && name != header::CONTENT_LENGTH {
            problem.headers_mut().append(name.clone(), value.clone());
        }
    }
    response.into_response(problem)
}

/// Adds headers that keep browsers from misusing an answer.
fn guard(headers: &mut HeaderMap, docs: bool) {
    const API: &str = "default-src 'none'; frame-ancestors 'none'";
    const DOCS: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                        frame-ancestors 'none'";
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // pages come with a policy of their own
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        let policy = HeaderValue::from_static(if docs { DOCS } else { API });
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if !docs && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
