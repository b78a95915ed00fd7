//! What the OpenAPI document says beside the routes.

use rest::docs::{self, Bearer};
use utoipa::OpenApi as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Jangteo", description = "A small but real shop. Money is a decimal string, ids are UUIDs, times are \
        RFC 3339 in UTC. Errors are problem documents (RFC 9457); GET /problems lists their types."),
    components(),
    modifiers(&Bearer)
)]
struct Frame;

/// The document without its routes.
pub fn frame() -> OpenApi {
    Frame::openapi()
}

/// Adds to every route what is the same for all of its kind.
pub fn complete(api: &mut OpenApi) {
    docs::operations(api).for_each(describe_key);
    docs::complete(api);
}

fn describe_key(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if parameter.name == "Idempotency-Key" {
            let visible = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]([ -~]*[!-~])?$"));
            parameter.description = Some("The same for each repeat of a request, another for each new one.".into());
            parameter.schema = Some(visible.max_length(Some(255)).build().into());
        }
    }
}
