//! `GET /v1/admin/audit`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use db::types::Id;
use rest::input::Params;
use rest::page::{Page, PageQuery};
use rest::{Problem, reply};

use crate::Proxy;
use crate::auth::admin::Admin;
use crate::cluster::audit::{self, AuditEntry};

/// Returns the actions of admins, the newest first.
#[utoipa::path(operation_id = "listAuditEntries", tag = "admin",
               params(PageQuery), responses((status = 200, body = Page<AuditEntry>)),
               security(("basic" = ["admin"])))]
#[get("/admin/audit")]
pub(crate) async fn page(proxy: Data<Proxy>, _admin: Admin, page: Params<PageQuery>) -> Result<HttpResponse, Problem> {
    Ok(reply::ok(&entries(&proxy, &page.0).await?))
}

/// Returns a page of actions.
///
/// # Errors
/// An invalid cursor, and errors of the database.
pub(crate) async fn entries(proxy: &Proxy, query: &PageQuery) -> Result<Page<AuditEntry>, Problem> {
    let (after, fetch) = (query.after::<Id>()?, query.fetch());
    let rows = proxy.control.read(move |conn| audit::page(conn, after, fetch)).await?;
    Ok(Page::of(rows, query, |row| row.id, |row| row))
}
