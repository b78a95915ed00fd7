//! Access tokens (JWT, HS256) and refresh tokens (random; only their hash is stored).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contracts::MemberId;
use hmac::Mac;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use member::{Role, SessionId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::{Keys, keyed};
use crate::http::kinds;
use crate::http::problem::Problem;

/// Issuer of the tokens.
const ISSUER: &str = "jangteo";

/// Claims of an access token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    #[serde(rename = "sub")]
    pub member: MemberId,
    pub role: Role,
    #[serde(rename = "sid")]
    pub session: SessionId,
    iss: String,
    iat: u64,
    exp: u64,
}

/// Signs and verifies access tokens.
pub struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    rules: Validation,
    lifetime: Duration,
    /// Makes successors of refresh tokens.
    successor: [u8; 32],
}

impl Tokens {
    /// Derives the key for access tokens with `lifetime`.
    pub fn new(keys: &Keys<'_>, lifetime: Duration) -> Self {
        let key = keys.derive("access-token");
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        rules.leeway = 0;
        let successor = keys.derive("refresh-token");
        Self {
            sign: EncodingKey::from_secret(&key),
            verify: DecodingKey::from_secret(&key),
            rules,
            lifetime,
            successor,
        }
    }

    /// Returns a token for the member's session, valid for [`lifetime`](Self::lifetime).
    ///
    /// # Errors
    /// If signing fails, which would be a defect.
    pub fn access(&self, member: MemberId, role: Role, session: SessionId) -> Result<String, Problem> {
        let iat = jsonwebtoken::get_current_timestamp();
        let claims = Claims { member, role, session, iss: ISSUER.into(), iat, exp: iat + self.lifetime.as_secs() };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign).map_err(Problem::internal)
    }

    /// Returns the lifetime of a token.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The token that follows a refresh token: the same each time, so that a repeat of a refresh has the same answer.
    pub(crate) fn successor(&self, of: &RefreshToken) -> RefreshToken {
        let mut mac = keyed(&self.successor);
        mac.update(of.0.as_bytes());
        RefreshToken(BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Returns the claims of `token`, if the shop signed the token and the token has not expired.
    ///
    /// # Errors
    /// `unauthenticated`
    pub fn verify(&self, token: &str) -> Result<Claims, Problem> {
        use jsonwebtoken::errors::ErrorKind;
        jsonwebtoken::decode::<Claims>(token, &self.verify, &self.rules).map(|token| token.claims).map_err(|error| {
            let detail = match error.kind() {
                ErrorKind::ExpiredSignature => "the access token has expired",
                _ => "the access token is not valid",
            };
            Problem::new(&kinds::UNAUTHENTICATED).detail(detail)
        })
    }
}

/// A refresh token: 256 random bits, or made of such a token by [`Tokens::successor`].
pub(crate) struct RefreshToken(String);

impl RefreshToken {
    /// Returns a new random token.
    pub(crate) fn generate() -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
    }

    /// Wraps a client's token.
    pub(crate) fn given(text: String) -> Self {
        Self(text)
    }

    /// Returns the stored form. SHA-256 is enough for a long random token.
    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }

    /// Returns the text for the client.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_another_key_or_algorithm_or_time_is_refused() {
        let tokens = Tokens::new(&Keys::new(b"one secret"), Duration::from_secs(60));
        let (member, session) = (MemberId::new(), SessionId::new());
        let good = tokens.access(member, Role::Member, session).unwrap();
        assert_eq!(tokens.verify(&good).unwrap().member, member);

        let other = Tokens::new(&Keys::new(b"another secret"), Duration::from_secs(60));
        assert!(other.verify(&good).is_err());
        let (head, rest) = good.split_once('.').unwrap();
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_ne!(head, none);
        assert!(tokens.verify(&format!("{none}.{rest}")).is_err());

        let expired = Claims { member, role: Role::Admin, session, iss: ISSUER.into(), iat: 0, exp: 1 };
        let expired = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &expired, &tokens.sign).unwrap();
        assert_eq!(tokens.verify(&expired).unwrap_err().to_string(), "unauthenticated: the access token has expired");
    }
}
