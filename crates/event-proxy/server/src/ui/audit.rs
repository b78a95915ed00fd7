//! Page of the audit log.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use askama::Template;
use rest::page::{Page, PageQuery};

use super::session_extractor::{Query, Viewer};
use super::{Frame, Refusal, assets, html, show};
use crate::Proxy;
use crate::api::audit::entries;
use crate::cluster::audit::AuditEntry;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    page: Page<AuditEntry>,
    is_first: bool,
}

/// Shows the actions, the newest first.
#[get("/admin/audit")]
pub(crate) async fn page(proxy: Data<Proxy>, viewer: Viewer, page: Query<PageQuery>) -> Result<HttpResponse, Refusal> {
    let frame = Frame::new(&proxy, &viewer, "audit", "Audit log");
    let is_first = page.0.cursor.is_none();
    let page = PageQuery { limit: page.0.limit.or(Some(50)), ..page.0 };
    Ok(html(StatusCode::OK, &AuditPage { frame, page: entries(&proxy, &page).await?, is_first }))
}
