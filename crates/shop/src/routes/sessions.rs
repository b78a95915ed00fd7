//! `/sessions`

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, post};
use contracts::MemberId;
use db::types::Time;
use member::{Role, Rotation, SessionId};
use rest::input::Body;
use rest::reply;

use super::at;
use crate::Storefront;
use crate::auth::{Caller, RefreshToken, note_wrong_password};
use crate::dto::members::{Refresh, SignIn, TokenPair};
use crate::http::kinds;
use crate::http::problem::{Answer, Problem};

/// Signs in.
#[utoipa::path(operation_id = "signIn", tag = "sessions",
               request_body = SignIn, responses((status = 201, body = TokenPair)))]
#[post("/sessions")]
pub(crate) async fn sign_in(shop: Data<Storefront>, request: HttpRequest, body: Body<SignIn>) -> Answer<HttpResponse> {
    shop.limits.credentials(&request)?;
    let SignIn { email, password } = body.value;
    let (account, from) = (member::normalised_email(&email), shop.limits.client(&request));
    let attempt = shop.throttle.turn(&account, from).await?;
    let found = shop.db.read(move |conn| member::credentials(conn, &email)).await?;
    // an address that nobody has takes as long as a wrong password
    let (member, hash) = found.map(|found| (found.member, found.password_hash)).unzip();
    let right = shop.passwords.verify(password, hash, from).await?;
    let Some(member) = member.filter(|_| right) else {
        note_wrong_password(from);
        return Err(Problem::new(&kinds::INVALID_CREDENTIALS));
    };
    attempt.right();
    let (refresh, expires_at) = (RefreshToken::generate(), Time::now() + shop.refresh_lifetime);
    let (id, hash) = (member.id, refresh.hash());
    let session = shop.db.write(move |tx| member::start_session(tx, id, &hash, expires_at)).await?;
    token_pair(&shop, id, member.role, session, refresh)
}

/// Goes on with a session; the refresh token is good for once, and a new one comes with the answer. The same token
/// again within 30 s, after a lost answer, brings the same new one; later it ends the session.
#[utoipa::path(operation_id = "refreshSession", tag = "sessions",
               request_body = Refresh, responses((status = 201, body = TokenPair)))]
#[post("/sessions/refresh")]
pub(crate) async fn renew(shop: Data<Storefront>, body: Body<Refresh>) -> Answer<HttpResponse> {
    let old = RefreshToken::given(body.value.refresh_token);
    let (new, expires_at) = (shop.tokens.successor(&old), Time::now() + shop.refresh_lifetime);
    let (old, new_hash) = (old.hash(), new.hash());
    let rotation = shop.db.write(move |tx| member::rotate_session(tx, &old, &new_hash, expires_at)).await?;
    if let Rotation::Reused(session) = &rotation {
        tracing::warn!(%session, "a refresh token was used again after 30 s; its session was ended");
        shop.sessions.forget(*session);
    }
    let (session, member) = rotation.granted()?;
    shop.limits.refresh(session)?;
    token_pair(&shop, member.id, member.role, session, new)
}

/// Signs out: the session's tokens are good for nothing any more.
#[utoipa::path(operation_id = "signOut", tag = "sessions", responses((status = 204)), security(("bearer" = [])))]
#[delete("/sessions/current")]
pub(crate) async fn sign_out(shop: Data<Storefront>, caller: Caller) -> Answer<HttpResponse> {
    let (session, known) = (caller.session, shop.clone());
    let revoke = move |tx: &mut db::Tx<'_>| {
        let known = known.clone();
        tx.after_commit(move || {
            known.sessions.forget(session);
            known.hub.wake_member(caller.id);
        });
        member::revoke_session(tx, session)
    };
    shop.db.write(revoke).await?;
    Ok(reply::nothing())
}

fn token_pair(
    shop: &Storefront,
    member: MemberId,
    role: Role,
    session: SessionId,
    refresh: RefreshToken,
) -> Answer<HttpResponse> {
    let tokens = TokenPair {
        access_token: shop.tokens.access(member, role, session)?,
        token_type: "Bearer",
        expires_in: shop.tokens.lifetime().as_secs(),
        refresh_token: refresh.into_text(),
    };
    Ok(reply::created(at("sessions/current"), &tokens))
}
