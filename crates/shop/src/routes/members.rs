//! `/members`

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, post};
use member::NewMember;
use rest::input::Body;
use rest::reply;

use super::at;
use crate::Storefront;
use crate::dto::members::{Profile, Registration};
use crate::http::problem::Answer;

/// Registers a member. A taken e-mail address is 409.
#[utoipa::path(operation_id = "registerMember", tag = "members",
               request_body = Registration, responses((status = 201, body = Profile)))]
#[post("/members")]
pub(crate) async fn register(
    shop: Data<Storefront>,
    request: HttpRequest,
    body: Body<Registration>,
) -> Answer<HttpResponse> {
    shop.limits.credentials(&request)?;
    let Registration { email, password, name } = body.value;
    let hash = shop.passwords.hash(password, shop.limits.client(&request)).await?;
    let new = NewMember { email, name };
    let member = shop.db.write(move |tx| member::register(tx, &new, &hash)).await?;
    Ok(reply::created(at("me"), &Profile::from(member)))
}
