//! Why a member was not served.

/// Each case is one that the caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Another member has the e-mail address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// A value that no member can have.
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    /// There is no such member.
    #[error("no such member")]
    NotFound,
    /// The refresh token is unknown, expired, used too long before, or of a session that was revoked.
    #[error("the refresh token is not valid")]
    InvalidRefresh,
    #[error(transparent)]
    Database(#[from] db::Error),
}
