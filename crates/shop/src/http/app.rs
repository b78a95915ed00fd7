//! The application: routes and middleware.

use actix_cors::Cors;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, LOCATION, RETRY_AFTER};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data, PathConfig};
use actix_web::{App, Error};
use rest::answer::bounded;
use rest::body::Bodies;
use rest::directory::{check_request, no_such_route};
use rest::docs::Described;
use rest::health;
use rest::input::BodyLimit;
use rest::observe::observe;
use runtime::settings::HttpSettings;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::AppExt;
use utoipa_actix_web::scope::scope;
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_swagger_ui::SwaggerUi;

use super::docs;
use super::limits::admit;
use super::probes;
use crate::Storefront;
use crate::routes::{admin, coupons, issue_requests, me, members, notifications, orders, products, sessions, wallet};

/// Prefix of every route of the API.
pub const PREFIX: &str = "/api/v1";

/// Returns the OpenAPI document of the routes.
pub fn openapi() -> OpenApi {
    let app = App::new().into_utoipa_app().openapi(docs::frame());
    let (_, mut api) = app.service(scope(PREFIX).configure(routes)).split_for_parts();
    docs::complete(&mut api);
    api
}

/// Returns the application of one HTTP thread.
pub fn app(
    shop: Data<Storefront>,
    described: Described,
    bodies: Data<Bodies>,
    settings: &HttpSettings,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
    + use<>,
> {
    let limit = settings.body_limit.0;
    let app = App::new().into_utoipa_app();
    let (app, _) = app.service(scope(PREFIX).configure(routes)).split_for_parts();
    app.service(health::livez)
        .service(probes::readyz)
        .service(health::metrics)
        .service(rest::docs::docs)
        .service(rest::docs::problems)
        .service(rest::docs::problem_kind)
        .service(
            SwaggerUi::new("/docs/{file:.*}").config(utoipa_swagger_ui::Config::from(format!("{PREFIX}/openapi.json"))),
        )
        .default_service(web::to(no_such_route))
        .app_data(shop)
        .app_data(described.document)
        .app_data(described.directory)
        .app_data(described.kinds)
        .app_data(BodyLimit(limit))
        .app_data(bodies)
        .app_data(PathConfig::default())
        .wrap(from_fn(check_request))
        .wrap(from_fn(admit))
        // around all that refuses, so that a page can read the refusal, and a preflight costs no quota
        .wrap(Condition::new(!settings.cors_origins.is_empty(), cors(&settings.cors_origins)))
        .wrap(from_fn(observe))
        .wrap(from_fn(bounded))
}

/// Registers the routes, hot routes first: a request is matched in this order.
fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(products::popular)
        .service(products::one)
        .service(orders::place)
        .service(orders::pay)
        .service(coupons::request)
        .service(issue_requests::one);
    config.service(products::list).service(products::create).service(products::edit).service(products::adjust);
    config.service(orders::cancel).service(orders::list).service(orders::one).service(orders::payment_of);
    config.service(orders::delivery_of).service(orders::events_of);
    config.service(wallet::charge).service(wallet::show).service(wallet::transactions);
    config.service(members::register).service(sessions::sign_in).service(sessions::renew).service(sessions::sign_out);
    config.service(me::me).service(me::rename).service(me::change_password);
    config.service(me::coupons).service(me::history);
    config.service(notifications::list).service(notifications::mark_read);
    config.service(notifications::issue_ticket).service(notifications::open_stream);
    config.service(coupons::create).service(coupons::close).service(coupons::list).service(coupons::one);
    config.service(admin::events::list).service(admin::events::one);
    config.service(admin::events::consumers).service(admin::events::reset).service(admin::events::log_epochs);
    config.service(admin::dead_letters::list).service(admin::dead_letters::replay_all);
    config.service(admin::dead_letters::one).service(admin::dead_letters::replay).service(admin::dead_letters::discard);
    config.service(admin::figures::reconciliation).service(admin::figures::settlements);
    config.service(admin::figures::coupons).service(admin::figures::sales);
    config.service(admin::lists::orders).service(admin::lists::members).service(admin::lists::incidents);
    config.service(admin::fulfilment::deliveries).service(admin::fulfilment::ship).service(admin::fulfilment::deliver);
    config.service(admin::fulfilment::purchase_orders).service(admin::fulfilment::receive);
    config.service(rest::docs::document);
}

/// Allows web pages of these origins to call the API. Tokens travel in a header, so that no cookie is allowed.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allow_any_method()
        .allow_any_header()
        .expose_headers([LOCATION, RETRY_AFTER, HeaderName::from_static("x-request-id")])
        .max_age(3600);
    if origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin();
    }
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
