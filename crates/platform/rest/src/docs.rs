//! The OpenAPI document, its pages, and the types of problem.

#![allow(unreachable_pub, reason = "route macros put the visibility on a function inside, too")]

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::Method;
use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Data, Redirect};
use actix_web::{HttpResponse, get};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Header, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi as _};

use crate::directory::{Directory, Outside};
use crate::input::Segment;
use crate::kinds::{self, Kind};
use crate::problem::{Document, FieldError, MEDIA_TYPE, Problem};
use crate::reply;

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Document, FieldError)))]
struct Problems;

/// Modifier of the document for credentials sent as `Authorization: Bearer …`.
pub struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut OpenApi) {
        if let Some(components) = &mut api.components {
            components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        }
    }
}

/// Modifier of the document for a name and a password sent as `Authorization: Basic …`.
pub struct Basic;

impl Modify for Basic {
    fn modify(&self, api: &mut OpenApi) {
        if let Some(components) = &mut api.components {
            components.add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
        }
    }
}

/// Traits of an operation that imply most of the operation's problems.
#[derive(Default, Clone, Copy)]
pub struct Shape {
    /// True for any method except GET.
    pub changes: bool,
    /// True for a POST or PATCH: the route reads a body, even if the body must be empty.
    pub reads_body: bool,
    pub has_path: bool,
    pub takes_key: bool,
    /// True if the route requires or checks credentials.
    pub is_secured: bool,
    /// Asks for a role: `security(("scheme" = ["role"]))`.
    pub needs_role: bool,
}

/// Problems of all operations of a shape.
pub type Rule = (fn(Shape) -> bool, &'static [&'static Kind]);

/// Problems of one operation, by operation id.
pub type Refusals = (&'static str, &'static [&'static Kind]);

const RULES: &[Rule] = &[
    (
        |_| true,
        &[
            &kinds::BAD_REQUEST,
            &kinds::INVALID_QUERY,
            &kinds::HEAD_TIMEOUT,
            &kinds::HEAD_TOO_LARGE,
            &kinds::TOO_MANY_REQUESTS,
            &kinds::INTERNAL,
            &kinds::UNAVAILABLE,
        ],
    ),
    (|shape| shape.changes, &[&kinds::OUTCOME_UNKNOWN]),
    (|shape| shape.has_path, &[&kinds::NOT_FOUND]),
    (
        |shape| shape.reads_body,
        &[
            &kinds::MALFORMED_JSON,
            &kinds::BODY_TIMEOUT,
            &kinds::TOO_LARGE,
            &kinds::UNSUPPORTED_MEDIA_TYPE,
            &kinds::INVALID_REQUEST,
        ],
    ),
];

/// Completes the description of every operation: problems, by the common rules, the server's `rules` and `refusals`;
/// headers, descriptions of responses, and an empty list of credentials for a public operation.
pub fn complete(api: &mut OpenApi, rules: &[Rule], refusals: &[Refusals]) {
    api.merge(Problems::openapi());
    name_items(api);
    let mut unknown: BTreeSet<&str> = refusals.iter().map(|(id, _)| *id).collect();
    for (changes, reads_body, operation) in operations(api) {
        let shape = Shape { changes, reads_body, ..shape(operation) };
        let common = RULES.iter().chain(rules).filter(|(applies, _)| applies(shape)).map(|(_, kinds)| kinds);
        let id = operation.operation_id.clone().unwrap_or_default();
        unknown.remove(id.as_str());
        let own = refusals.iter().filter(|(of, _)| *of == id).map(|(_, kinds)| kinds);
        let kinds: Vec<_> = common.chain(own).flat_map(|kinds| kinds.iter().copied()).collect();
        add_problems(operation, &kinds);
        operation.security.get_or_insert_default();
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                describe(status, response);
            }
        }
    }
    debug_assert!(unknown.is_empty(), "refusals of unknown operations: {unknown:?}");
}

/// Returns all operations of the document, with two flags: the operation changes something, and reads a body.
fn operations(api: &mut OpenApi) -> impl Iterator<Item = (bool, bool, &mut Operation)> {
    api.paths.paths.values_mut().flat_map(|item| {
        let methods = [
            (false, false, &mut item.get),
            (true, true, &mut item.post),
            (true, true, &mut item.patch),
            (true, false, &mut item.delete),
        ];
        methods.into_iter().filter_map(|(changes, reads_body, it)| Some((changes, reads_body, it.as_mut()?)))
    })
}

/// Returns all parameters of the document.
pub fn parameters(api: &mut OpenApi) -> impl Iterator<Item = &mut Parameter> {
    let all = operations(api).flat_map(|(.., operation)| operation.parameters.iter_mut().flatten());
    all.filter_map(|parameter| if let RefOr::T(parameter) = parameter { Some(parameter) } else { None })
}

fn shape(operation: &Operation) -> Shape {
    let mut shape = Shape::default();
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(Parameter { name, parameter_in, .. }) = parameter else { continue };
        shape.has_path |= *parameter_in == ParameterIn::Path;
        shape.takes_key |= name == "Idempotency-Key";
    }
    shape.is_secured = operation.security.is_some();
    // a requirement shows its roles only as JSON
    let requirements = serde_json::to_value(&operation.security).unwrap_or_default();
    let mut roles = requirements.as_array().into_iter().flatten().filter_map(Value::as_object).flat_map(Map::values);
    shape.needs_role = roles.any(|roles| roles.as_array().is_some_and(|roles| !roles.is_empty()));
    shape
}

fn add_problems(operation: &mut Operation, kinds: &[&'static Kind]) {
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds {
        let Kind { code, title, .. } = kind;
        by_status.entry(kind.status.as_str().to_owned()).or_default().push(format!("`{code}`: {title}."));
    }
    by_status.insert("default".to_owned(), vec!["Any other problem.".to_owned()]);
    for (status, said) in by_status {
        operation.responses.responses.entry(status).or_insert_with(|| problem(&said.join(" ")).into());
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build()
}

/// Makes lists refer to the schema of the items, so that generated clients have one name for the items.
fn name_items(api: &mut OpenApi) {
    let Some(components) = &mut api.components else { return };
    let known: BTreeSet<String> = components.schemas.keys().cloned().collect();
    for (name, schema) in &mut components.schemas {
        let item = name.strip_prefix("Page_").filter(|item| known.contains(*item));
        if let (Some(item), RefOr::T(Schema::Object(page))) = (item, schema) {
            let items = ArrayBuilder::new().items(Ref::from_schema_name(item)).build();
            page.properties.insert("items".to_owned(), items.into());
        }
    }
}

const LOCATION: (&str, Type, &str) = ("Location", Type::String, "Where the thing is, or its result will be.");
const RETRY_AFTER: (&str, Type, &str) = ("Retry-After", Type::Integer, "Seconds until the next try.");
const CHALLENGE: (&str, Type, &str) = ("WWW-Authenticate", Type::String, "The scheme of the credentials.");

fn describe(status: &str, response: &mut Response) {
    let (description, headers): (&str, &[_]) = match status {
        "200" => ("The result.", &[]),
        "201" => ("Created.", &[LOCATION]),
        "202" => ("Accepted; done in a moment.", &[LOCATION, RETRY_AFTER]),
        "204" => ("Done.", &[]),
        "207" => ("A status for each item.", &[]),
        "401" => ("", &[CHALLENGE]),
        "429" | "503" => ("", &[RETRY_AFTER]),
        _ => ("", &[]),
    };
    if response.description.is_empty() {
        description.clone_into(&mut response.description);
    }
    for (name, of, description) in headers.iter().cloned() {
        let mut header = Header::new(ObjectBuilder::new().schema_type(of));
        header.description = Some(description.to_owned());
        response.headers.insert(name.to_owned(), header.into());
    }
}

const GET: &[Method] = &[Method::GET];

/// Query parameters of a route without any.
const NONE: Option<&[&str]> = Some(&[]);

/// Routes of every server outside of the OpenAPI document.
const OUTSIDE: &[Outside] = &[
    ("/livez", GET, NONE),
    ("/readyz", GET, NONE),
    ("/metrics", GET, NONE),
    // pages and their scripts, which bring parameters of their own
    ("/docs", GET, None),
    ("/docs/", GET, None),
    ("/docs/{file}", GET, None),
    ("/problems", GET, NONE),
    ("/problems/{code}", GET, NONE),
];

/// Application data shared by the HTTP threads of a server: the OpenAPI document and data made from the document.
#[derive(Clone)]
pub struct Described {
    pub document: Data<ApiDocument>,
    pub directory: Data<Directory>,
    pub kinds: Data<Kinds>,
}

impl Described {
    /// Describes the routes of `api`, the pages, and the server's own kinds of problem.
    pub fn new(api: &OpenApi, pages: &[Outside], own: &[&'static Kind]) -> Self {
        // the schemas are made of the code: that they are JSON, a test of the document shows
        let json = serde_json::to_vec(api).expect("an OpenAPI document is JSON");
        let (directory, kinds) = (Directory::new(api, OUTSIDE.iter().chain(pages)), Kinds(kinds::with(own)));
        Self { document: Data::new(ApiDocument(json.into())), directory: Data::new(directory), kinds: Data::new(kinds) }
    }
}

/// The serialised document.
pub struct ApiDocument(pub Bytes);

/// Serves this document.
#[utoipa::path(operation_id = "getOpenApiDocument", tag = "docs", responses((status = 200, body = Object)))]
#[get("/openapi.json")]
pub async fn document(api: Data<ApiDocument>) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(api.0.clone())
}

/// Redirects to the pages under `/docs/`.
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

/// The types of problem of the server.
pub struct Kinds(pub Vec<&'static Kind>);

/// Shows all types of problem.
#[get("/problems")]
pub async fn problems(kinds: Data<Kinds>) -> HttpResponse {
    let items: Vec<KindView> = kinds.0.iter().map(|kind| KindView::from(*kind)).collect();
    reply::ok(&serde_json::json!({ "items": items }))
}

/// Shows a type of problem: the target of a document's `type`.
#[get("/problems/{code}")]
pub async fn problem_kind(kinds: Data<Kinds>, code: Segment<String>) -> Result<HttpResponse, Problem> {
    let kind = kinds.0.iter().find(|kind| kind.code == code.0);
    Ok(reply::ok(&KindView::from(*kind.ok_or_else(|| Problem::not_found("type of problem"))?)))
}
