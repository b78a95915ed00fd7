//! Headers allowed once in a request: a server in front might use a line other than this server's (RFC 9110, 5.3).

use actix_web::http::header::HeaderMap;

use crate::kinds;
use crate::problem::Problem;

const SINGLE: &[&str] =
    &["authorization", "content-encoding", "content-type", "idempotency-key", "last-event-id", "x-csrf-token"];
/// Begins the names of attributes of an event (CloudEvents).
const ATTRIBUTE: &str = "ce-";

/// Checks that no single header comes twice.
///
/// # Errors
/// `bad-request`
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let is_single = |name: &str| SINGLE.contains(&name) || name.starts_with(ATTRIBUTE);
    let twice = headers.keys().find(|name| is_single(name.as_str()) && headers.get_all(*name).nth(1).is_some());
    let refused = |name| Problem::new(&kinds::BAD_REQUEST).detail(format_args!("there is more than one header {name}"));
    twice.map_or(Ok(()), |name| Err(refused(name)))
}
