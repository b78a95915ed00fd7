//! API keys: made, rotated and revoked.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use askama::Template;
use db::types::Id;
use garde::Validate;
use rest::Problem;
use rest::input::{Segment, parse};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::session_extractor::{Form, Nothing, Query, Viewer};
use super::topics::{numbers, words};
use super::{Frame, Refusal, assets, go_to, html, show};
use crate::Proxy;
use crate::auth::admin;
use crate::auth::keys::{ApiKey, NewKey, ShownKey};

/// Result of the last action, for a line at the top.
#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Done {
    revoked: Option<u32>,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<ApiKey>,
    are_required: bool,
    done: Option<String>,
    /// A key just made: the secret is on this page only.
    shown: Option<ShownKey>,
    form: KeyForm,
    refused: Option<String>,
}

/// A new key as typed into the form.
#[derive(Default, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    services: String,
    #[serde(default)]
    events_per_second: String,
    #[serde(default)]
    bytes_per_second: String,
}

impl KeyForm {
    /// Returns the request in the form of the JSON route, so that both run the same checks.
    fn request(&self) -> Result<NewKey, Problem> {
        let mut request = Map::from_iter([("name".to_owned(), Value::from(self.name.trim()))]);
        request.insert("services".into(), words(&self.services).collect());
        request.extend(numbers([
            ("events_per_second", &self.events_per_second),
            ("bytes_per_second", &self.bytes_per_second),
        ])?);
        parse(Value::Object(request).to_string().as_bytes())
    }
}

impl KeysPage {
    async fn new(proxy: &Proxy, viewer: &Viewer) -> Result<Self, Problem> {
        Ok(Self {
            frame: Frame::new(proxy, viewer, "keys", "API keys"),
            keys: proxy.keys.list().await?,
            are_required: proxy.settings.keys_required(),
            done: None,
            shown: None,
            form: KeyForm::default(),
            refused: None,
        })
    }
}

/// Shows all API keys ever made.
#[get("/admin/keys")]
pub(crate) async fn list(proxy: Data<Proxy>, viewer: Viewer, done: Query<Done>) -> Result<HttpResponse, Refusal> {
    let done = done.0.revoked.map(|_| "Revoked. Every proxy refuses it within two seconds.".to_owned());
    Ok(html(StatusCode::OK, &KeysPage { done, ..KeysPage::new(&proxy, &viewer).await? }))
}

/// Creates a key, and shows the secret.
#[post("/admin/keys")]
pub(crate) async fn make(proxy: Data<Proxy>, form: Form<KeyForm>) -> Result<HttpResponse, Refusal> {
    let made = match form.value.request() {
        Ok(request) => proxy.keys.create(admin::NAME, request).await,
        Err(problem) => Err(problem),
    };
    let made = match made {
        Ok(made) => made,
        Err(problem) if problem.is_refusal() => {
            let page = KeysPage::new(&proxy, &form.viewer).await?;
            let refused = Some(problem.told());
            return Ok(html(problem.kind().status, &KeysPage { form: form.value, refused, ..page }));
        }
        Err(problem) => return Err(problem.into()),
    };
    let page = KeysPage::new(&proxy, &form.viewer).await?;
    Ok(html(StatusCode::CREATED, &KeysPage { shown: Some(made), ..page }))
}

/// Rotates a key, and shows the new secret.
#[post("/admin/keys/{id}/rotate")]
pub(crate) async fn rotate(proxy: Data<Proxy>, form: Form<Nothing>, id: Segment<Id>) -> Result<HttpResponse, Refusal> {
    let rotated = proxy.keys.rotate(admin::NAME, id.0).await?;
    let page = KeysPage::new(&proxy, &form.viewer).await?;
    Ok(html(StatusCode::OK, &KeysPage { shown: Some(rotated), ..page }))
}

/// Revokes a key.
#[post("/admin/keys/{id}/revoke")]
pub(crate) async fn revoke(proxy: Data<Proxy>, _form: Form<Nothing>, id: Segment<Id>) -> Result<HttpResponse, Refusal> {
    proxy.keys.revoke(admin::NAME, id.0).await?;
    Ok(go_to("/admin/keys?revoked=1"))
}
