//! The routes there are, out of the OpenAPI document: for metrics and guards by route, and to tell 405 from 404.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest, HttpResponse, ResponseError};
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr};

use crate::kinds;
use crate::problem::Problem;
use crate::singles;

/// Maximum number of unknown query parameters named in an answer.
const MAX_TOLD: usize = 20;

/// A tree of path segments.
#[derive(Default)]
pub struct Directory {
    root: Node,
}

#[derive(Default)]
struct Node {
    literal: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    route: Option<Route>,
}

/// A path with parameters as `{name}`.
pub struct Route {
    pub pattern: Arc<str>,
    methods: Vec<(Method, Query)>,
}

/// Names of the known query parameters of a route; `None` for all.
type Query = Option<Vec<String>>;

/// Route outside of OpenAPI documents: the pattern, the methods, and the known query parameters (`None` for all).
pub type Outside = (&'static str, &'static [Method], Option<&'static [&'static str]>);

impl Directory {
    /// Returns the routes of `api`, and of `more` outside of the document.
    pub fn new<'m>(api: &OpenApi, more: impl IntoIterator<Item = &'m Outside>) -> Self {
        let mut directory = Self::default();
        let in_query = keys_in_query(api);
        for (pattern, item) in &api.paths.paths {
            directory.add(pattern, methods(item, &in_query));
        }
        for (pattern, methods, query) in more {
            let query = query.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            directory.add(pattern, methods.iter().map(|method| (method.clone(), query.clone())).collect());
        }
        directory
    }

    fn add(&mut self, pattern: &str, methods: Vec<(Method, Query)>) {
        let node = segments(pattern).fold(&mut self.root, |node, segment| match segment.starts_with('{') {
            true => node.parameter.get_or_insert_default(),
            false => node.literal.entry(segment.to_owned()).or_default(),
        });
        node.route = Some(Route { pattern: pattern.into(), methods });
    }

    /// Returns the route of a percent-decoded path.
    fn find(&self, path: &str) -> Option<&Route> {
        let segments: Vec<&str> = segments(path).collect();
        self.root.find(&segments)
    }
}

/// Returns the route of a request. Metrics, limits and guards decide by this route, and never by the path that the
/// client wrote: `/%61pi` is `/api`.
pub fn matched(request: &HttpRequest) -> Option<&Route> {
    let routes = request.app_data::<Data<Directory>>()?;
    // the path as the framework's router compares it
    routes.find(request.match_info().as_str())
}

impl Node {
    fn find(&self, segments: &[&str]) -> Option<&Route> {
        let Some((first, rest)) = segments.split_first() else { return self.route.as_ref() };
        let literal = self.literal.get(*first).and_then(|node| node.find(rest));
        // no parameter is empty
        let parameter = self.parameter.as_ref().filter(|_| !first.is_empty());
        literal.or_else(|| parameter.and_then(|node| node.find(rest)))
    }
}

impl Route {
    /// Returns true if the route is `prefix` or below `prefix`.
    pub fn is_under(&self, prefix: &str) -> bool {
        self.pattern.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the value of the header Allow.
    pub fn allow(&self) -> String {
        let names =
            self.methods.iter().map(|(method, _)| if method == Method::GET { "GET, HEAD" } else { method.as_str() });
        names.collect::<Vec<_>>().join(", ")
    }

    /// Refuses each unknown query parameter: a filter with a typing error would list everything.
    fn check_query(&self, method: &Method, query: &str) -> Result<(), Problem> {
        let of_method = self.methods.iter().find(|(known, _)| known == method);
        let Some((_, Some(known))) = of_method else { return Ok(()) };
        // what is no query is refused by the route
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let mut unknown = pairs.into_iter().map(|(name, _)| name).filter(|name| !known.contains(name)).peekable();
        if unknown.peek().is_none() {
            return Ok(());
        }
        let problem = Problem::new(&kinds::INVALID_QUERY);
        Err(unknown.take(MAX_TOLD).fold(problem, |problem, name| problem.field(name, "there is no such parameter")))
    }
}

/// Answers a request without a matching route.
///
/// Also answers a route with an unknown method: the framework tries services one by one, and does not report the
/// reason of a mismatch.
#[allow(clippy::unused_async)] // the framework takes async handlers only
pub async fn no_such_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(match matched(&request) {
        Some(route) => Problem::new(&kinds::METHOD_NOT_ALLOWED).allow(route.allow()),
        None => Problem::new(&kinds::NO_SUCH_ROUTE),
    })
}

/// Middleware that refuses unknown query parameters of the matched route, and repeated headers.
///
/// # Errors
/// Errors of the application.
pub async fn check_request(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let query = Some(request.query_string()).filter(|query| !query.is_empty());
    let route = query.and_then(|_| matched(request.request()));
    let checked = route.map_or(Ok(()), |route| route.check_query(request.method(), request.query_string()));
    match checked.and_then(|()| singles::check(request.headers())) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => Ok(request.into_response(problem.error_response())),
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn methods(item: &PathItem, in_query: &[(String, String)]) -> Vec<(Method, Query)> {
    [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, Some(query(operation.as_ref()?, in_query)))))
    .collect()
}

/// Returns the names of an operation's query parameters, including credentials.
fn query(operation: &Operation, in_query: &[(String, String)]) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter.name.clone()),
        _ => None,
    });
    // a requirement shows its schemes only as JSON
    let requirements = serde_json::to_value(&operation.security).unwrap_or_default();
    let is_asked_for = |scheme: &str| requirements.as_array().into_iter().flatten().any(|it| it.get(scheme).is_some());
    let keys = in_query.iter().filter(|(scheme, _)| is_asked_for(scheme)).map(|(_, name)| name.clone());
    parameters.chain(keys).collect()
}

/// Returns the schemes of credentials in the query, each with the parameter's name.
fn keys_in_query(api: &OpenApi) -> Vec<(String, String)> {
    let schemes = api.components.iter().flat_map(|components| &components.security_schemes);
    schemes
        .filter_map(|(scheme, kind)| match kind {
            RefOr::T(SecurityScheme::ApiKey(ApiKey::Query(key))) => Some((scheme.clone(), key.name.clone())),
            _ => None,
        })
        .collect()
}
