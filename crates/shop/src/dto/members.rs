//! Members and sessions.

use contracts::MemberId;
use db::types::Time;
use garde::Validate;
use member::{Member, MemberError, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{line, texts};

/// Checks an e-mail address: mail can be sent to the address.
fn mailbox(text: &str, _: &()) -> garde::Result {
    match member::checked_email(text) {
        Ok(_) => Ok(()),
        Err(MemberError::Invalid { reason, .. }) => Err(garde::Error::new(reason)),
        Err(other) => Err(garde::Error::new(other)),
    }
}

/// Checks a new password.
fn strong(text: &str, _: &()) -> garde::Result {
    program::password::weakness(text).map_or(Ok(()), |weakness| Err(garde::Error::new(weakness)))
}

/// A new member.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    #[garde(custom(mailbox))]
    #[schema(format = Email, max_length = 254, example = "kim@example.com")]
    pub email: String,
    #[garde(length(chars, max = 200), custom(strong))]
    #[schema(format = Password, min_length = 8, max_length = 200)]
    pub password: String,
    #[garde(custom(line(&member::NAME)))]
    #[schema(min_length = 1, max_length = 100, example = "Kim")]
    pub name: String,
}

/// Credentials for signing in.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    #[garde(custom(mailbox))]
    #[schema(format = Email, max_length = 254, example = "kim@example.com")]
    pub email: String,
    #[garde(length(chars, max = 200))]
    #[schema(format = Password, max_length = 200)]
    pub password: String,
}

/// Request for new tokens of a session.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    #[garde(length(bytes, max = 200))]
    #[schema(max_length = 200)]
    pub refresh_token: String,
}

/// Changes of a member's own profile.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileChange {
    #[garde(custom(line(&member::NAME)))]
    #[schema(min_length = 1, max_length = 100, example = "Kim")]
    pub name: String,
}

/// A new password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    #[garde(length(chars, max = 200))]
    #[schema(format = Password, max_length = 200)]
    pub current_password: String,
    #[garde(length(chars, max = 200), custom(strong))]
    #[schema(format = Password, min_length = 8, max_length = 200)]
    pub new_password: String,
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenPair {
    /// Token for the header `Authorization: Bearer …`.
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// Lifetime of the access token in seconds.
    #[schema(example = 900)]
    pub expires_in: u64,
    /// Good for one refresh, which gives a new one; a repeat of that refresh within 30 s gives the same.
    pub refresh_token: String,
}

/// A member's own profile.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    #[schema(value_type = uuid::Uuid)]
    pub id: MemberId,
    pub email: String,
    pub name: String,
    #[schema(value_type = texts::Role)]
    pub role: Role,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
}

impl From<Member> for Profile {
    fn from(member: Member) -> Self {
        let Member { id, email, name, role, created_at } = member;
        Self { id, email, name, role, created_at }
    }
}
