//! Successful answers.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, Responder};
use serde::Serialize;

/// 200 with a JSON body.
pub fn ok(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(body)
}

/// 201 with a JSON body and where the thing is.
pub fn created(location: impl AsRef<str>, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Created().insert_header((header::LOCATION, location.as_ref())).json(body)
}

/// 202 with where to ask, and when.
pub fn accepted(location: impl AsRef<str>, wait: Duration, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Accepted()
        .insert_header((header::LOCATION, location.as_ref()))
        .insert_header((header::RETRY_AFTER, wait.as_secs().max(1)))
        .json(body)
}

/// 204.
pub fn nothing() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// Stored JSON: status and body of an earlier answer.
pub struct Kept {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

impl Responder for Kept {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &actix_web::HttpRequest) -> HttpResponse {
        self.into_response()
    }
}

impl Kept {
    /// Returns the HTTP response.
    pub fn into_response(self) -> HttpResponse {
        let status = actix_web::http::StatusCode::from_u16(self.status).unwrap_or_default();
        let mut response = HttpResponse::build(status);
        if let Some(location) = self.location {
            response.insert_header((header::LOCATION, location));
        }
        let media = if self.status < 400 { "application/json" } else { crate::problem::MEDIA_TYPE };
        response.content_type(media).body(self.body)
    }
}
