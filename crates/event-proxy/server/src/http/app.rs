//! The application: routes and middleware.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::STRICT_TRANSPORT_SECURITY;
use actix_web::middleware::{Condition, DefaultHeaders, Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, Error};
use rest::answer::bounded;
use rest::body::Bodies;
use rest::directory::{check_request, no_such_route};
use rest::docs::{self, Basic, Bearer, Described, Refusals, Rule};
use rest::health::livez;
use rest::kinds::Kind;
use rest::observe::observe;
use utoipa::OpenApi as _;
use utoipa::openapi::{OpenApi, RefOr, Required};
use utoipa_actix_web::AppExt;
use utoipa_actix_web::scope::scope;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_swagger_ui::SwaggerUi;

use crate::api::{api_keys, audit, dead_letters, events, ledger, receipts, topics};
use crate::auth::caller::tell_quota;
use crate::http::loopback_guard;
use crate::http::{health, problems};
use crate::{Proxy, ui};

/// Prefix of every route of the API.
const PREFIX: &str = "/v1";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Event proxy", description = "Takes events from services in any language, keeps them on disk, and \
        brings them to Kafka. Errors are problem documents (RFC 9457); GET /problems lists their types."),
    servers((url = "/", description = "The server of this document")),
    tags(
        (name = "events", description = "For services: events, their receipts and the ledger"),
        (name = "admin", description = "For the admin"),
        (name = "docs", description = "The description of the API"),
    ),
    components(),
    modifiers(&Bearer, &Basic)
)]
struct Frame;

/// Problems by the shape of an operation, in addition to the common problems.
const RULES: &[Rule] = &[
    // the guard before all routes
    (|_| true, &[&problems::NOT_ALLOWED_WITHOUT_KEYS]),
    (|shape| shape.is_secured, &[&problems::UNAUTHORIZED]),
    // the admin of a page's session sends its token
    (|shape| shape.needs_role && shape.changes, &[&problems::WRONG_CSRF_TOKEN]),
];

/// Refusals of the routes that take events.
const OF_EVENTS: &[&Kind] = &[
    &problems::SERVICE_NOT_ALLOWED,
    &problems::UNKNOWN_TOPIC,
    &problems::TOO_MANY_TOPICS,
    &problems::TOPIC_REFUSED,
    &problems::QUOTA_EXCEEDED,
    &problems::LOG_FULL,
    &problems::ID_REUSED,
    &problems::REFUSED_BY_KAFKA,
];

/// Refusals by operation. Tests compare the refusals with received answers.
const REFUSALS: &[Refusals] = &[
    ("postEvents", OF_EVENTS),
    ("postData", OF_EVENTS),
    ("getReceipt", &[&problems::FORGOTTEN, &problems::PEER_AWAY]),
    ("deleteTopic", &[&problems::TOPIC_BUSY]),
];

/// Returns the OpenAPI document of the routes.
pub fn openapi() -> OpenApi {
    let app = App::new().into_utoipa_app().openapi(Frame::openapi());
    let (_, mut api) = app.service(scope(PREFIX).configure(routes)).split_for_parts();
    docs::complete(&mut api, RULES, REFUSALS);
    // an event needs no data; the attribute of a route cannot say so
    let data = api.paths.paths.get_mut("/v1/events/{service}/{type}").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = data.and_then(|data| data.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
    api
}

fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(events::post)
        .service(events::post_data)
        .service(receipts::one)
        .service(ledger::all)
        .service(topics::list)
        .service(topics::one)
        .service(topics::make)
        .service(topics::delete)
        .service(dead_letters::list)
        .service(dead_letters::redrive)
        .service(dead_letters::discard)
        .service(api_keys::all)
        .service(api_keys::create)
        .service(api_keys::rotate)
        .service(api_keys::revoke)
        .service(audit::page)
        .service(docs::document);
}

/// Returns the application of one HTTP thread.
pub(super) fn app(
    proxy: Data<Proxy>,
    described: Described,
    tls: bool,
    bodies: Data<Bodies>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
    + use<>,
> {
    let app = App::new().into_utoipa_app();
    let (app, _) = app.service(scope(PREFIX).configure(routes)).split_for_parts();
    app.service(livez)
        .service(health::readyz)
        .service(health::metrics)
        .configure(ui::routes)
        .service(docs::docs)
        .service(docs::problems)
        .service(docs::problem_kind)
        .service(
            SwaggerUi::new("/docs/{file:.*}").config(utoipa_swagger_ui::Config::from(format!("{PREFIX}/openapi.json"))),
        )
        .default_service(web::to(no_such_route))
        .app_data(proxy)
        .app_data(bodies)
        .app_data(described.document)
        .app_data(described.directory)
        .app_data(described.kinds)
        .wrap(from_fn(check_request))
        .wrap(from_fn(tell_quota))
        .wrap(from_fn(close_at_the_end))
        .wrap(from_fn(loopback_guard::watch))
        .wrap(Condition::new(tls, DefaultHeaders::new().add((STRICT_TRANSPORT_SECURITY, "max-age=31536000"))))
        .wrap(from_fn(observe))
        .wrap(from_fn(bounded))
}

/// Closes each connection after the answer while the proxy stops: the stop waits for open connections.
async fn close_at_the_end(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let proxy = request.app_data::<Data<Proxy>>().cloned();
    let mut response = next.call(request).await?;
    if proxy.is_some_and(|proxy| proxy.stopping.is_cancelled()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
