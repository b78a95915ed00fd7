//! The types of problem a client can meet: stable, documented, and all in one table.

use actix_web::http::StatusCode;

/// A type of problem. Its `code` is part of the API: clients switch on it, so it never changes its meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The last segment of the document's `type`.
    pub code: &'static str,
    pub status: StatusCode,
    /// The same for every occurrence.
    pub title: &'static str,
    /// What it means, and what the caller can do.
    pub meaning: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal, $title:literal, $meaning:literal;)+) => {
        $(#[doc = $meaning]
        pub static $name: Kind =
            Kind { code: $code, status: StatusCode::$status, title: $title, meaning: $meaning };)+
        /// Every type there is, by status.
        pub static ALL: &[&Kind] = &[$(&$name),+];
    };
}

kinds! {
    MALFORMED_JSON = BAD_REQUEST "malformed-json", "The body is not JSON",
        "The body could not be read as JSON; the detail says where.";
    INVALID_QUERY = BAD_REQUEST "invalid-query", "A query parameter is wrong",
        "`errors` names each wrong parameter.";
    MISSING_IDEMPOTENCY_KEY = BAD_REQUEST "missing-idempotency-key", "An Idempotency-Key is required",
        "Send a header Idempotency-Key with a value of your own making, a UUID say, the same for each repeat.";
    INVALID_IDEMPOTENCY_KEY = BAD_REQUEST "invalid-idempotency-key", "The Idempotency-Key is not valid",
        "1 to 255 visible ASCII characters.";
    BAD_REQUEST = BAD_REQUEST "bad-request", "The request is not valid HTTP for this server",
        "The request could not be read.";
    UNAUTHENTICATED = UNAUTHORIZED "unauthenticated", "A valid access token is required",
        "The token is missing, forged, expired or revoked: sign in, or refresh it.";
    INVALID_CREDENTIALS = UNAUTHORIZED "invalid-credentials", "E-mail or password is wrong",
        "Which of the two is not said.";
    INVALID_REFRESH_TOKEN = UNAUTHORIZED "invalid-refresh-token", "The refresh token is not valid",
        "It is unknown, expired, revoked or already used: sign in again.";
    INSUFFICIENT_BALANCE = PAYMENT_REQUIRED "insufficient-balance", "The wallet holds too little",
        "Charge the wallet and pay again, with a new Idempotency-Key.";
    FORBIDDEN = FORBIDDEN "forbidden", "Not with this role",
        "The route is for administrators.";
    NOT_FOUND = NOT_FOUND "not-found", "There is no such thing",
        "It does not exist, or it is not yours.";
    NO_SUCH_ROUTE = NOT_FOUND "no-such-route", "There is no such route",
        "GET /api/v1/openapi.json lists the routes.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed", "The route does not know this method",
        "The header Allow lists those it knows.";
    EMAIL_TAKEN = CONFLICT "email-taken", "The e-mail address is taken",
        "Sign in, or register with another.";
    INSUFFICIENT_STOCK = CONFLICT "insufficient-stock", "Too few are left",
        "`product_id` names the first product with too few.";
    NOT_ON_SALE = CONFLICT "not-on-sale", "The product is not on sale",
        "`product_id` names it.";
    ORDER_STATE = CONFLICT "order-state", "The order is no longer in a state for this",
        "`order_status` says what it is.";
    COUPON_SOLD_OUT = CONFLICT "coupon-sold-out", "All coupons are taken",
        "There will be no more of this one.";
    COUPON_NOT_OPEN = CONFLICT "coupon-not-open", "The coupon is not open",
        "`opens_at` and `closes_at` say when it is.";
    COUPON_NOT_USABLE = CONFLICT "coupon-not-usable", "The coupon can't be used for this order",
        "It is used, reserved, expired, or the order is under its minimum: the detail says which.";
    STATE_CONFLICT = CONFLICT "state-conflict", "Its state does not allow this",
        "The detail says why.";
    RESET_REFUSED = CONFLICT "reset-refused", "This group must not repeat",
        "Its effects can't be taken back; the detail says which.";
    IDEMPOTENCY_KEY_IN_USE = CONFLICT "idempotency-key-in-use", "The first request with this key still runs",
        "Ask again with the same key in a moment.";
    TOO_LARGE = PAYLOAD_TOO_LARGE "body-too-large", "The body is too large",
        "The detail says how large it may be.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type", "The body's type is not known here",
        "Send application/json.";
    INVALID_REQUEST = UNPROCESSABLE_ENTITY "invalid-request", "The request has wrong fields",
        "`errors` names each wrong field and what is wrong with it.";
    IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency-key-reused", "The key was used for another request",
        "Take a new Idempotency-Key for a new request.";
    TOO_MANY_REQUESTS = TOO_MANY_REQUESTS "too-many-requests", "Too many requests",
        "The header Retry-After says when to go on, in seconds.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal", "Something went wrong here",
        "The log has the reason under `request_id`.";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable", "The shop is out of reach for a moment",
        "Nothing was done; ask again after Retry-After seconds.";
    OUTCOME_UNKNOWN = SERVICE_UNAVAILABLE "outcome-unknown", "It may have been done or not",
        "Ask again with the same Idempotency-Key: what was done is not done twice.";
}

/// The kind for a status that the web framework chose by itself.
pub fn of_status(status: StatusCode) -> &'static Kind {
    match status {
        StatusCode::NOT_FOUND => &NO_SUCH_ROUTE,
        StatusCode::METHOD_NOT_ALLOWED => &METHOD_NOT_ALLOWED,
        StatusCode::PAYLOAD_TOO_LARGE => &TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => &UNSUPPORTED_MEDIA_TYPE,
        StatusCode::TOO_MANY_REQUESTS => &TOO_MANY_REQUESTS,
        status if status.is_client_error() => &BAD_REQUEST,
        _ => &INTERNAL,
    }
}
