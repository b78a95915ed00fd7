//! `/v1/admin/api-keys`

use actix_web::web::Data;
use actix_web::{HttpResponse, delete, get, post};
use db::types::Id;
use rest::input::{Body, NoBody, Segment};
use rest::{Problem, reply};
use serde::Serialize;

use crate::Proxy;
use crate::auth::admin::Admin;
use crate::auth::keys::{ApiKey, NewKey, ShownKey};

/// All API keys.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ApiKeys {
    items: Vec<ApiKey>,
}

/// Returns all API keys ever made, the newest first.
#[utoipa::path(operation_id = "listApiKeys", tag = "admin",
               responses((status = 200, body = ApiKeys)), security(("basic" = ["admin"])))]
#[get("/admin/api-keys")]
pub(crate) async fn all(proxy: Data<Proxy>, _admin: Admin) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&ApiKeys { items: proxy.keys.list().await? }))
}

/// Creates an API key; the secret is shown here only.
#[utoipa::path(operation_id = "createApiKey", tag = "admin",
               request_body = NewKey, responses((status = 201, body = ShownKey)),
               security(("basic" = ["admin"])))]
#[post("/admin/api-keys")]
pub(crate) async fn create(proxy: Data<Proxy>, admin: Admin, new: Body<NewKey>) -> Result<HttpResponse, Problem> {
    let created = proxy.keys.create(&admin.who, new.value).await?;
    Ok(HttpResponse::Created().json(created))
}

/// Rotates an API key; the new secret is shown here only, and the old secret is refused from now on.
#[utoipa::path(operation_id = "rotateApiKey", tag = "admin",
               params(("id" = uuid::Uuid, Path)), responses((status = 200, body = ShownKey)),
               security(("basic" = ["admin"])))]
#[post("/admin/api-keys/{id}/rotate")]
pub(crate) async fn rotate(
    proxy: Data<Proxy>,
    admin: Admin,
    id: Segment<Id>,
    _: NoBody,
) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&proxy.keys.rotate(&admin.who, id.0).await?))
}

/// Revokes an API key: every proxy refuses the key within two seconds.
#[utoipa::path(operation_id = "revokeApiKey", tag = "admin",
               params(("id" = uuid::Uuid, Path)), responses((status = 204)),
               security(("basic" = ["admin"])))]
#[delete("/admin/api-keys/{id}")]
pub(crate) async fn revoke(proxy: Data<Proxy>, admin: Admin, id: Segment<Id>) -> Result<HttpResponse, Problem> {
    proxy.keys.revoke(&admin.who, id.0).await?;
    Ok(reply::nothing())
}
