//! The routes there are, out of the OpenAPI document: for metrics and guards by route, and to tell 405 from 404.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::path::PathItem;

use crate::kinds;
use crate::problem::Problem;

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

/// A path with its parameters as `{name}`.
pub struct Route {
    pub pattern: Arc<str>,
    methods: Vec<Method>,
}

/// Pattern and methods of a route that no OpenAPI document has.
pub type Outside = (&'static str, &'static [Method]);

impl Directory {
    /// The routes of `api`, and of `more` outside of it.
    pub fn new<'m>(api: &utoipa::openapi::OpenApi, more: impl IntoIterator<Item = &'m Outside>) -> Self {
        let mut directory = Self::default();
        for (pattern, item) in &api.paths.paths {
            directory.add(pattern, methods(item));
        }
        for (pattern, methods) in more {
            directory.add(pattern, methods.to_vec());
        }
        directory
    }

    fn add(&mut self, pattern: &str, methods: Vec<Method>) {
        let node = segments(pattern).fold(&mut self.root, |node, segment| match segment.starts_with('{') {
            true => node.parameter.get_or_insert_default(),
            false => node.literal.entry(segment.to_owned()).or_default(),
        });
        node.route = Some(Route { pattern: pattern.into(), methods });
    }

    /// The route of a path, of which the percent-encoding is undone.
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
    /// Returns true if the route is `prefix` or below it.
    pub fn is_under(&self, prefix: &str) -> bool {
        self.pattern.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// For the header Allow.
    pub fn allow(&self) -> String {
        let names: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        names.join(", ")
    }
}

/// The answer where no route fits.
///
/// Also where a route is asked by a method that it does not know: the framework tries services one by one, and does
/// not say why none took it.
#[allow(clippy::unused_async)] // the framework takes async handlers only
pub async fn no_such_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(match matched(&request) {
        Some(route) => Problem::new(&kinds::METHOD_NOT_ALLOWED).allow(route.allow()),
        None => Problem::new(&kinds::NO_SUCH_ROUTE),
    })
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn methods(item: &PathItem) -> Vec<Method> {
    [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ]
    .into_iter()
    .filter(|(_, operation)| operation.is_some())
    .map(|(method, _)| method)
    .collect()
}
