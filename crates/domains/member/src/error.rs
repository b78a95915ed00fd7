//! Errors of the member domain.

/// The caller can act on each variant.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Another member has the e-mail address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// A value outside the rules for members.
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    /// The member does not exist.
    #[error("no such member")]
    NotFound,
    /// The refresh token is unknown, expired, used too long before, or of a session that was revoked.
    #[error("the refresh token is not valid")]
    InvalidRefresh,
    #[error(transparent)]
    Database(#[from] db::Error),
}
