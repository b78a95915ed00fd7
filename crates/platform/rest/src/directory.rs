//! The routes there are, out of the OpenAPI document: for metrics by route, and to tell 405 from 404.

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

impl Directory {
    /// The routes of `api`, and of `more` outside of it, which are all GET.
    pub fn new(api: &utoipa::openapi::OpenApi, more: &[&str]) -> Self {
        let mut directory = Self::default();
        for (pattern, item) in &api.paths.paths {
            directory.add(pattern, methods(item));
        }
        for pattern in more {
            directory.add(pattern, vec![Method::GET]);
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

    /// The route of a path.
    pub fn find(&self, path: &str) -> Option<&Route> {
        let segments: Vec<&str> = segments(path).collect();
        self.root.find(&segments)
    }
}

impl Node {
    fn find(&self, segments: &[&str]) -> Option<&Route> {
        let Some((first, rest)) = segments.split_first() else { return self.route.as_ref() };
        let literal = self.literal.get(*first).and_then(|node| node.find(rest));
        literal.or_else(|| self.parameter.as_ref().and_then(|node| node.find(rest)))
    }
}

impl Route {
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
pub async fn no_such_route(request: HttpRequest, routes: Data<Directory>) -> Result<HttpResponse, Problem> {
    Err(match routes.find(request.path()) {
        Some(route) => Problem::new(&kinds::METHOD_NOT_ALLOWED).allow(route.allow()),
        None => Problem::new(&kinds::NO_SUCH_ROUTE),
    })
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('/').split('/')
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
