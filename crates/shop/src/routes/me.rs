//! `/me`

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, patch, post};
use consumers::coupon_history;
use contracts::OwnedCouponId;
use db::types::Id;
use rest::input::{Body, Params};
use rest::page::{Page, PageQuery};
use rest::reply;

use crate::Storefront;
use crate::auth::{Caller, note_wrong_password};
use crate::dto::coupons::OwnedCouponView;
use crate::dto::members::{PasswordChange, Profile, ProfileChange};
use crate::dto::notifications::HistoryEntry;
use crate::http::kinds;
use crate::http::problem::{Answer, Problem};

/// Returns the member of the token.
#[utoipa::path(operation_id = "getProfile", tag = "me",
               responses((status = 200, body = Profile)), security(("bearer" = [])))]
#[get("/me")]
pub(crate) async fn me(shop: Data<Storefront>, caller: Caller) -> Answer<HttpResponse> {
    let member = shop.db.read(move |conn| member::get(conn, caller.id)).await?;
    let member = member.ok_or_else(|| Problem::not_found("member"))?;
    Ok(reply::ok(&Profile::from(member)))
}

/// Changes the name.
#[utoipa::path(operation_id = "updateProfile", tag = "me", request_body = ProfileChange,
               responses((status = 200, body = Profile)), security(("bearer" = [])))]
#[patch("/me")]
pub(crate) async fn rename(shop: Data<Storefront>, caller: Caller, body: Body<ProfileChange>) -> Answer<HttpResponse> {
    let name = body.value.name;
    let member = shop.db.write(move |tx| member::rename(tx, caller.id, &name)).await?;
    Ok(reply::ok(&Profile::from(member)))
}

/// Changes the password, and ends all other sessions.
#[utoipa::path(operation_id = "changePassword", tag = "me",
               request_body = PasswordChange, responses((status = 204)), security(("bearer" = [])))]
#[post("/me/password")]
pub(crate) async fn change_password(
    shop: Data<Storefront>,
    caller: Caller,
    request: HttpRequest,
    body: Body<PasswordChange>,
) -> Answer<HttpResponse> {
    shop.limits.credentials(&request)?;
    let PasswordChange { current_password, new_password } = body.value;
    let credentials = shop.db.read(move |conn| member::credentials_of(conn, caller.id)).await?;
    let credentials = credentials.ok_or_else(|| Problem::not_found("member"))?;
    let (account, from) = (credentials.member.email, shop.limits.client(&request));
    let attempt = shop.throttle.turn(&account, from).await?;
    if !shop.passwords.verify(current_password, Some(credentials.password_hash), from).await? {
        note_wrong_password(from);
        return Err(Problem::new(&kinds::INVALID_REQUEST).field("current_password", "is wrong"));
    }
    attempt.right();
    let (hash, known) = (shop.passwords.hash(new_password, from).await?, shop.clone());
    let change = move |tx: &mut db::Tx<'_>| {
        let known = known.clone();
        tx.after_commit(move || {
            known.sessions.forget_all();
            known.hub.wake_member(caller.id);
        });
        member::set_password(tx, caller.id, &hash, Some(caller.session))
    };
    shop.db.write(change).await?;
    Ok(reply::nothing())
}

/// The member's coupons, the newest first.
#[utoipa::path(operation_id = "listOwnedCoupons", tag = "me",
               params(PageQuery), responses((status = 200, body = Page<OwnedCouponView>)),
               security(("bearer" = [])))]
#[get("/me/coupons")]
pub(crate) async fn coupons(shop: Data<Storefront>, caller: Caller, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<OwnedCouponId>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| coupon::owned_page(conn, caller.id, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, OwnedCouponView::from)))
}

/// Returns the history of the member's coupons, the newest first.
#[utoipa::path(operation_id = "listCouponHistory", tag = "me",
               params(PageQuery), responses((status = 200, body = Page<HistoryEntry>)),
               security(("bearer" = [])))]
#[get("/me/coupons/history")]
pub(crate) async fn history(shop: Data<Storefront>, caller: Caller, page: Params<PageQuery>) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<Id>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| coupon_history::page(conn, caller.id, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, HistoryEntry::from)))
}
