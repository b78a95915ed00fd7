//! The OpenAPI document and the pages that show it, and the types of problem.

use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Data, Redirect};
use actix_web::{HttpResponse, get};
use serde::Serialize;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Header, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use crate::directory::Directory;
use crate::input::Segment;
use crate::kinds::{self, Kind};
use crate::problem::{Document, FieldError, MEDIA_TYPE, Problem};
use crate::reply;

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Document, FieldError)))]
struct Problems;

/// For credentials that are sent as `Authorization: Bearer …`: a modifier of the document.
pub struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut OpenApi) {
        if let Some(components) = &mut api.components {
            components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        }
    }
}

/// For a name and a password that are sent as `Authorization: Basic …`: a modifier of the document.
pub struct Basic;

impl Modify for Basic {
    fn modify(&self, api: &mut OpenApi) {
        if let Some(components) = &mut api.components {
            components.add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
        }
    }
}

/// Adds to every route what routes of its kind may answer besides.
pub fn complete(api: &mut OpenApi) {
    api.merge(Problems::openapi());
    for operation in operations(api) {
        add_problems(operation);
        add_headers(operation);
    }
}

/// All routes of the document.
pub fn operations(api: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    api.paths.paths.values_mut().flat_map(of_item)
}

fn of_item(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

fn add_problems(operation: &mut Operation) {
    let (mut in_path, mut in_query, mut with_key) = (false, false, false);
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(Parameter { name, parameter_in, .. }) = parameter else { continue };
        in_path |= *parameter_in == ParameterIn::Path;
        in_query |= *parameter_in == ParameterIn::Query;
        with_key |= name == "Idempotency-Key";
    }
    let with_body = operation.request_body.is_some();
    let may: [(&str, bool, &str); 8] = [
        ("400", in_query || with_body || with_key, "Not understood"),
        ("401", operation.security.is_some(), "No valid access token"),
        ("404", in_path, "No such thing, or not the caller's"),
        ("413", with_body, "The body is too large"),
        ("415", with_body, "The body is not JSON"),
        ("422", with_body || with_key, "Wrong fields, each named; or a key that was used for another request"),
        ("429", true, "Too many requests; see Retry-After"),
        ("503", true, "Out of reach for a moment; see Retry-After"),
    ];
    let responses = &mut operation.responses.responses;
    for (status, _, why) in may.iter().filter(|(_, may, _)| *may) {
        responses.entry((*status).to_owned()).or_insert_with(|| problem(why).into());
    }
    responses.entry("default".to_owned()).or_insert_with(|| problem("Any other problem").into());
}

fn problem(why: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(why).content(MEDIA_TYPE, content).build()
}

fn add_headers(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let headers: &[&str] = match status.as_str() {
            "201" => &["Location"],
            "202" => &["Location", "Retry-After"],
            "401" => &["WWW-Authenticate"],
            "429" | "503" => &["Retry-After"],
            _ => &[],
        };
        for name in headers {
            response.headers.insert((*name).to_owned(), Header::default().into());
        }
    }
}

/// Routes that every server has, and that are in no OpenAPI document.
const OUTSIDE: &[&str] =
    &["/livez", "/readyz", "/metrics", "/docs", "/docs/", "/docs/{file}", "/problems", "/problems/{code}"];

/// What the HTTP threads of a server share: its OpenAPI document and what is made from it, as application data.
#[derive(Clone)]
pub struct Described {
    pub document: Data<ApiDocument>,
    pub directory: Data<Directory>,
    pub kinds: Data<Kinds>,
}

impl Described {
    /// Of the routes of `api`, and the kinds of problem that only this server has.
    pub fn new(api: &OpenApi, own: &[&'static Kind]) -> Self {
        // the schemas are made of the code: that they are JSON, a test of the document shows
        let json = serde_json::to_vec(api).expect("an OpenAPI document is JSON");
        let (directory, kinds) = (Directory::new(api, OUTSIDE), Kinds(kinds::with(own)));
        Self { document: Data::new(ApiDocument(json.into())), directory: Data::new(directory), kinds: Data::new(kinds) }
    }
}

/// The document as it is sent.
pub struct ApiDocument(pub Bytes);

/// This document.
#[utoipa::path(tag = "docs", responses((status = 200, body = Object)))]
#[get("/openapi.json")]
pub async fn document(api: Data<ApiDocument>) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(api.0.clone())
}

/// The pages are under `/docs/`.
#[get("/docs")]
pub async fn docs() -> Redirect {
    Redirect::to("/docs/")
}

#[derive(Serialize)]
struct KindView {
    #[serde(rename = "type")]
    type_: String,
    code: &'static str,
    status: u16,
    title: &'static str,
    meaning: &'static str,
}

impl From<&Kind> for KindView {
    fn from(kind: &Kind) -> Self {
        let Kind { code, status, title, meaning } = *kind;
        Self { type_: format!("/problems/{code}"), code, status: status.as_u16(), title, meaning }
    }
}

/// The types of problem that a client of the server can meet.
pub struct Kinds(pub Vec<&'static Kind>);

/// All types of problem.
#[get("/problems")]
pub async fn problems(kinds: Data<Kinds>) -> HttpResponse {
    let items: Vec<KindView> = kinds.0.iter().map(|kind| KindView::from(*kind)).collect();
    reply::ok(&serde_json::json!({ "items": items }))
}

/// A type of problem: where the `type` of a document leads.
#[get("/problems/{code}")]
pub async fn problem_kind(kinds: Data<Kinds>, code: Segment<String>) -> Result<HttpResponse, Problem> {
    let kind = kinds.0.iter().find(|kind| kind.code == code.0);
    Ok(reply::ok(&KindView::from(*kind.ok_or_else(|| Problem::not_found("type of problem"))?)))
}
