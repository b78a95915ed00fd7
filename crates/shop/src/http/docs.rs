//! Parts of the OpenAPI document beside the routes.

use rest::docs::{self, Bearer, Refusals, Rule};
use rest::kinds::Kind;
use utoipa::openapi::OpenApi;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use super::kinds;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Jangteo", description = "A small but real shop. Money is a decimal string, ids are UUIDs, times are \
        RFC 3339 in UTC. Errors are problem documents (RFC 9457); GET /problems lists their types. An operation that \
        needs the role of an administrator names it in its security requirement."),
    servers((url = "/", description = "The server of this document")),
    tags(
        (name = "products", description = "Catalogue and stock"),
        (name = "orders", description = "Orders, payments, deliveries"),
        (name = "coupons", description = "First-come coupons"),
        (name = "wallet", description = "The member's money"),
        (name = "members", description = "Registration"),
        (name = "sessions", description = "Access tokens"),
        (name = "me", description = "The member itself"),
        (name = "notifications", description = "Notifications and their stream"),
        (name = "admin", description = "For administrators"),
        (name = "docs", description = "The description of the API"),
    ),
    components(),
    modifiers(&Bearer, &Ticket)
)]
struct Frame;

/// Security scheme of the notification stream for browsers: a modifier of the document.
struct Ticket;

impl Modify for Ticket {
    fn modify(&self, api: &mut OpenApi) {
        if let Some(components) = &mut api.components {
            let ticket = ApiKeyValue::with_description("ticket", "From POST /me/notifications/stream-tickets.");
            components.add_security_scheme("ticket", SecurityScheme::ApiKey(ApiKey::Query(ticket)));
        }
    }
}

/// Problems by the shape of an operation, in addition to the common problems.
const RULES: &[Rule] = &[
    (|shape| shape.is_secured, &[&kinds::UNAUTHENTICATED]),
    (|shape| shape.needs_role, &[&kinds::FORBIDDEN]),
    (
        |shape| shape.takes_key,
        &[
            &kinds::MISSING_IDEMPOTENCY_KEY,
            &kinds::INVALID_IDEMPOTENCY_KEY,
            &kinds::IDEMPOTENCY_KEY_IN_USE,
            &kinds::IDEMPOTENCY_KEY_REUSED,
        ],
    ),
];

const CONFLICT: &[&Kind] = &[&kinds::STATE_CONFLICT];

/// Refusals of the domains, by operation. Tests compare the refusals with received answers.
const REFUSALS: &[Refusals] = &[
    ("registerMember", &[&kinds::EMAIL_TAKEN]),
    ("signIn", &[&kinds::INVALID_CREDENTIALS]),
    ("refreshSession", &[&kinds::INVALID_REFRESH_TOKEN]),
    ("adjustStock", &[&kinds::INSUFFICIENT_STOCK, &kinds::STATE_CONFLICT]),
    ("chargeWallet", CONFLICT),
    (
        "placeOrder",
        &[&kinds::INSUFFICIENT_STOCK, &kinds::NOT_ON_SALE, &kinds::COUPON_NOT_USABLE, &kinds::TOO_MANY_UNPAID],
    ),
    ("payOrder", &[&kinds::INSUFFICIENT_BALANCE, &kinds::ORDER_STATE]),
    ("cancelOrder", &[&kinds::ORDER_STATE, &kinds::STATE_CONFLICT]),
    ("requestCoupon", &[&kinds::COUPON_SOLD_OUT, &kinds::COUPON_NOT_OPEN]),
    ("resetConsumer", &[&kinds::RESET_REFUSED]),
    ("replayDeadLetter", CONFLICT),
    ("discardDeadLetter", CONFLICT),
    ("shipDelivery", &[&kinds::STATE_CONFLICT, &kinds::ORDER_STATE]),
    ("completeDelivery", &[&kinds::STATE_CONFLICT, &kinds::ORDER_STATE]),
    ("receivePurchaseOrder", CONFLICT),
];

/// Returns the document without the routes.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// Adds the common parts to every route.
pub(super) fn complete(api: &mut OpenApi) {
    for parameter in docs::parameters(api).filter(|parameter| parameter.name == "Idempotency-Key") {
        let visible = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]([ -~]*[!-~])?$"));
        parameter.description = Some("The same for each repeat of a request, another for each new one.".into());
        parameter.schema = Some(visible.max_length(Some(255)).build().into());
    }
    docs::complete(api, RULES, REFUSALS);
}
