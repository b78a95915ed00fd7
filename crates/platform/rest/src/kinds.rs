//! The types of problem a client can meet with any server of ours: stable, documented, and in a table. A server has
//! another for its own.

pub use actix_web::http::StatusCode;

/// A type of problem. The `code` is part of the API: clients switch on the code, so the code never changes its
/// meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The last segment of the document's `type`.
    pub code: &'static str,
    pub status: StatusCode,
    /// Constant for every occurrence.
    pub title: &'static str,
    /// Meaning, and possible actions of the caller.
    pub meaning: &'static str,
}

/// Defines a table of kinds: a static for each, and `ALL` with all kinds.
#[macro_export]
macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal, $title:literal, $meaning:literal;)+) => {
        $(#[doc = $meaning]
        pub static $name: $crate::kinds::Kind = $crate::kinds::Kind {
            code: $code,
            status: $crate::kinds::StatusCode::$status,
            title: $title,
            meaning: $meaning,
        };)+
        /// Every kind of this table.
        pub static ALL: &[&$crate::kinds::Kind] = &[$(&$name),+];
    };
}

kinds! {
    MALFORMED_JSON = BAD_REQUEST "malformed-json", "The body is not JSON",
        "The server could not read the body as JSON; the detail names the place.";
    INVALID_QUERY = BAD_REQUEST "invalid-query", "A query parameter is wrong",
        "`errors` names each wrong or unknown parameter.";
    BAD_REQUEST = BAD_REQUEST "bad-request", "The request is not valid HTTP for this server",
        "The server could not read the request.";
    UNAUTHENTICATED = UNAUTHORIZED "unauthenticated", "Valid credentials are required",
        "The access token is missing, forged, expired or revoked.";
    FORBIDDEN = FORBIDDEN "forbidden", "Not with these credentials",
        "The route needs other permissions.";
    NOT_FOUND = NOT_FOUND "not-found", "There is no such thing",
        "The resource does not exist, or belongs to another member.";
    NO_SUCH_ROUTE = NOT_FOUND "no-such-route", "There is no such route",
        "The OpenAPI document lists the routes.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed", "The route does not know this method",
        "The header Allow lists the methods of the route.";
    BODY_TIMEOUT = REQUEST_TIMEOUT "body-timeout", "The body did not come in time",
        "Nothing was done. Send the request again, over a faster connection or with a smaller body.";
    STATE_CONFLICT = CONFLICT "state-conflict", "Its state does not allow this",
        "The detail gives the reason.";
    TOO_LARGE = PAYLOAD_TOO_LARGE "body-too-large", "The body is too large",
        "The detail gives the maximum size.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type", "The body's type or encoding is not known here",
        "Send application/json, without content-encoding. Accept-Encoding names the encodings of the route.";
    INVALID_REQUEST = UNPROCESSABLE_ENTITY "invalid-request", "The request has wrong fields",
        "`errors` names each wrong field and the error.";
    TOO_MANY_REQUESTS = TOO_MANY_REQUESTS "too-many-requests", "Too many requests",
        "The header Retry-After gives the time to wait, in seconds.";
    HEAD_TIMEOUT = REQUEST_TIMEOUT "head-timeout", "The head of the request did not come in time",
        "Nothing was done, and the connection is closed. Send the request again.";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "head-too-large", "The head of the request is too large",
        "Nothing was done, and the connection is closed. Send fewer or shorter headers.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal", "Something went wrong here",
        "The log has the reason under `request_id`.";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable", "The server is out of reach for a moment",
        "Nothing was done; send the request again after Retry-After seconds.";
    OUTCOME_UNKNOWN = SERVICE_UNAVAILABLE "outcome-unknown", "It may have been done or not",
        "Send the request again with the same key: a completed request does not run twice.";
}

/// Returns every kind of a server's problems, by status: the common kinds and the server's `own`.
pub fn with(own: &[&'static Kind]) -> Vec<&'static Kind> {
    let mut all: Vec<_> = ALL.iter().chain(own).copied().collect();
    all.sort_by_key(|kind| kind.status);
    all
}

/// Returns the kind for a status chosen by the web framework.
pub fn of_status(status: StatusCode) -> &'static Kind {
    match status {
        StatusCode::NOT_FOUND => &NO_SUCH_ROUTE,
        StatusCode::METHOD_NOT_ALLOWED => &METHOD_NOT_ALLOWED,
        StatusCode::REQUEST_TIMEOUT => &BODY_TIMEOUT,
        StatusCode::PAYLOAD_TOO_LARGE => &TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => &UNSUPPORTED_MEDIA_TYPE,
        StatusCode::TOO_MANY_REQUESTS => &TOO_MANY_REQUESTS,
        status if status.is_client_error() => &BAD_REQUEST,
        _ => &INTERNAL,
    }
}
