//! The caller of a route with authentication.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use contracts::MemberId;
use member::{Role, SessionId};

use crate::Storefront;
use crate::http::kinds;
use crate::http::problem::Problem;

/// A member with a valid access token of a live session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub id: MemberId,
    pub role: Role,
    pub session: SessionId,
}

/// A [`Caller`] with the role of an administrator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin(pub Caller);

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Boxed<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Self::of(&request).await })
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Boxed<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let caller = Caller::of(&request).await?;
            if caller.is_admin() { Ok(Self(caller)) } else { Err(Problem::new(&kinds::FORBIDDEN)) }
        })
    }
}

impl Caller {
    /// Returns true for an administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Returns the caller of a request.
    ///
    /// # Errors
    /// `unauthenticated`, `too-many-requests`, and the database's.
    pub(crate) async fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let shop = request.app_data::<Data<Storefront>>().ok_or_else(|| Problem::internal("the shop is not set up"))?;
        let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let token = header.and_then(bearer).ok_or_else(|| Problem::new(&kinds::UNAUTHENTICATED))?;
        let claims = shop.tokens.verify(token)?;
        shop.limits.member(claims.member)?;
        shop.sessions.check(claims.session).await?;
        Ok(Self { id: claims.member, role: claims.role, session: claims.session })
    }
}

/// Returns the token of an `Authorization: Bearer` header; the scheme's case does not matter (RFC 9110).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
