//! `/wallet`

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use db::types::Id;
use rest::input::{Body, Params};
use rest::page::{Page, PageQuery};
use rest::reply::{self, Kept};

use super::at;
use crate::Storefront;
use crate::auth::Caller;
use crate::dto::checkout::{Balance, TransactionView, WalletCharge};
use crate::http::problem::Answer;
use crate::idempotency::{self, Done, RequiredKey};

/// Brings money into the wallet.
#[utoipa::path(operation_id = "chargeWallet", tag = "wallet",
               request_body = WalletCharge, params(("Idempotency-Key" = String, Header)),
               responses((status = 201, body = Balance)), security(("bearer" = [])))]
#[post("/wallet/charges")]
pub(crate) async fn charge(
    shop: Data<Storefront>,
    caller: Caller,
    key: RequiredKey,
    body: Body<WalletCharge>,
) -> Answer<Kept> {
    let amount = body.value.amount;
    let work = move |tx: &mut db::Tx<'_>| {
        let balance = payment::charge(tx, caller.id, amount)?;
        Done::created(at("wallet"), &Balance { balance })
    };
    idempotency::once(&shop.db, &caller, key, &body.bytes, work).await
}

/// Returns the balance of the wallet.
#[utoipa::path(operation_id = "getWallet", tag = "wallet",
               responses((status = 200, body = Balance)), security(("bearer" = [])))]
#[get("/wallet")]
pub(crate) async fn show(shop: Data<Storefront>, caller: Caller) -> Answer<HttpResponse> {
    let balance = shop.db.read(move |conn| payment::balance(conn, caller.id)).await?;
    Ok(reply::ok(&Balance { balance }))
}

/// Returns the changes of the wallet, the newest first.
#[utoipa::path(operation_id = "listWalletTransactions", tag = "wallet",
               params(PageQuery), responses((status = 200, body = Page<TransactionView>)),
               security(("bearer" = [])))]
#[get("/wallet/transactions")]
pub(crate) async fn transactions(
    shop: Data<Storefront>,
    caller: Caller,
    page: Params<PageQuery>,
) -> Answer<HttpResponse> {
    let (after, fetch) = (page.0.after::<Id>()?, page.0.fetch());
    let rows = shop.db.read(move |conn| payment::transactions(conn, caller.id, after, fetch)).await?;
    Ok(reply::ok(&Page::of(rows, &page.0, |row| row.id, TransactionView::from)))
}
