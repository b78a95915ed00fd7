//! Styles, scripts and the icon, out of the program itself.

use std::sync::LazyLock;

use actix_web::http::header::{self, ETag, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, get};
use rest::Problem;
use rest::input::Segment;
use sha2::{Digest, Sha256};

struct Asset {
    name: &'static str,
    media: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal $media:literal),+) => {
        &[$(Asset { name: $name, media: $media, text: include_str!(concat!("../../static/", $name)) }),+]
    };
}

static ASSETS: &[Asset] = assets! {
    "style.css" "text/css; charset=utf-8",
    "page.js" "text/javascript; charset=utf-8",
    "live.js" "text/javascript; charset=utf-8",
    "tail.js" "text/javascript; charset=utf-8",
    "icon.svg" "image/svg+xml"
};

/// Version in URLs of the assets: changes with any asset, so that a browser may cache each URL for ever.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all = ASSETS.iter().fold(Sha256::new(), |hash, asset| hash.chain_update(asset.text));
    all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
});

/// Returns the URL of an asset.
pub(super) fn at(name: &str) -> String {
    format!("/admin/static/{name}?v={}", *VERSION)
}

/// Serves an asset.
#[get("/admin/static/{name}")]
pub(crate) async fn one(request: HttpRequest, name: Segment<String>) -> Result<HttpResponse, Problem> {
    let found = ASSETS.iter().find(|asset| asset.name == name.0);
    let asset = found.ok_or_else(|| Problem::not_found("file"))?;
    let tag = EntityTag::new_strong(VERSION.clone());
    let is_known = match IfNoneMatch::parse(&request) {
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        _ => false,
    };
    let is_as_named = request.query_string() == format!("v={}", *VERSION);
    let keep = if is_as_named { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::CACHE_CONTROL, keep)).insert_header(ETag(tag));
    Ok(if is_known { response.finish() } else { response.content_type(asset.media).body(asset.text) })
}
