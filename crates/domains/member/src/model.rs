//! Types of members and sessions.

use std::net::IpAddr;

use contracts::MemberId;
use db::text::Line;
use db::types::Time;
use lettre::message::Mailbox;

use crate::error::MemberError;

db::text_enum!(
    /// Rights of a member.
    Role {
        /// Shops.
        Member => "member",
        /// Runs the shop.
        Admin => "admin",
    }
);

db::uuid_newtype!(
    /// Session of a signed-in member.
    SessionId
);

/// A member, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    /// E-mail address in lower case, unique.
    pub email: String,
    pub name: String,
    pub role: Role,
    pub created_at: Time,
}

/// A member and the password hash.
#[derive(Clone)]
pub struct Credentials {
    pub member: Member,
    pub password_hash: String,
}

/// Data of a registration.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// E-mail address in any case, with or without blanks around.
    pub email: String,
    pub name: String,
}

/// Longest address in SMTP (RFC 5321, 4.5.3.1.3), in bytes.
const MAX_EMAIL_BYTES: usize = 254;
/// Rule for the name of a member.
pub const NAME: Line = Line::new(100, "must have 1 to 100 characters");

impl NewMember {
    /// Returns the e-mail address and the name in stored form.
    ///
    /// # Errors
    /// [`MemberError::Invalid`]
    pub(crate) fn normalised(&self) -> Result<(String, String), MemberError> {
        Ok((checked_email(&self.email)?, checked_name(&self.name)?))
    }
}

/// Returns an e-mail address in the form used for storage and lookup.
pub fn normalised_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Returns an e-mail address as it is kept. The mailer's own parser decides: a member whom no mail can reach would be a
/// dead letter for each notification.
///
/// # Errors
/// [`MemberError::Invalid`]
pub fn checked_email(email: &str) -> Result<String, MemberError> {
    let refused = |reason| MemberError::Invalid { field: "email", reason };
    let email = normalised_email(email);
    if email.len() > MAX_EMAIL_BYTES {
        return Err(refused("is longer than 254 bytes"));
    }
    // a mailbox may also have a name, and a domain may be a host's number
    let is_address = email.parse().is_ok_and(|Mailbox { name, email: address }| {
        name.is_none() && address.to_string() == email && address.domain().parse::<IpAddr>().is_err()
    });
    // letters that look like others, or like nothing, would give one mailbox to several members
    let is_canonical = email.is_ascii() || matches!(idna::domain_to_unicode(&email), (same, Ok(())) if same == email);
    if is_address && is_canonical { Ok(email) } else { Err(refused("is not an e-mail address")) }
}

/// Returns a name in stored form.
///
/// # Errors
/// [`MemberError::Invalid`]
pub(crate) fn checked_name(name: &str) -> Result<String, MemberError> {
    NAME.kept(name).map_err(|reason| MemberError::Invalid { field: "name", reason })
}

/// Outcome of the rotation of a refresh token.
///
/// A refusal is no error of the unit of work, because the unit must be committed: the reuse of a token ends the
/// session, and an error would roll back this end.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The session goes on under the new token; also for a repeat soon after.
    Renewed(SessionId, Member),
    /// The token is unknown or expired, or the session was revoked.
    Refused,
    /// It had been rotated out too long before: the session is revoked now, for both who hold one of its tokens.
    Reused(SessionId),
}

impl Rotation {
    /// Returns the session, or the refusal as an error. Call this after the commit.
    ///
    /// # Errors
    /// [`MemberError::InvalidRefresh`]
    pub fn granted(self) -> Result<(SessionId, Member), MemberError> {
        match self {
            Self::Renewed(session, member) => Ok((session, member)),
            Self::Refused | Self::Reused(_) => Err(MemberError::InvalidRefresh),
        }
    }
}
